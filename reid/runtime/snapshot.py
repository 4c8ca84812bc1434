"""Resume: the whole state of a run in one file per epoch, written whole, tied to the settings that made it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid.errors import CheckpointError, UsageError
from reid.runtime.torchfiles import read_torch, write_torch

STATE_FILE = "state.pth"


@dataclass(frozen=True)
class Run:
    """Where a run keeps its state and logs, what it goes on from, and the settings that determine its result.

    `resume_from`: None (a fresh start), "auto" (the state in `logs_dir` if there is one), a folder, or a state file.
    """

    logs_dir: Path
    resume_from: str | None
    settings: dict[str, Any]

    def save(self, epoch: int, **state: Any) -> None:
        """Write the state after `epoch` finished epochs."""
        write_torch(self.logs_dir / STATE_FILE, {"epoch": epoch, "settings": self.settings, **state})

    @property
    def source(self) -> Path | None:
        """The state file to go on from, or None for a fresh start."""
        own = self.logs_dir / STATE_FILE
        if self.resume_from in (None, "auto"):
            return own if self.resume_from and own.is_file() else None
        path = Path(self.resume_from)
        return path / STATE_FILE if path.is_dir() else path

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, or None for a fresh start.

        Raises UsageError for other settings or a run that would be overwritten, CheckpointError for a file of no state.
        """
        path, own = self.source, self.logs_dir / STATE_FILE
        if own.exists() and (path is None or path.resolve() != own.resolve()):
            hint = "go on with it (--resume-from auto), remove it, or choose another folder"
            raise UsageError(f"{self.logs_dir} holds a run already; {hint}")
        if path is None:
            return None
        state = read_torch(path)
        if not isinstance(state, dict) or "epoch" not in state or not isinstance(state.get("settings"), dict):
            raise CheckpointError(f"{path} is not the state of a run; give the --logs_dir of one, or its {STATE_FILE}")
        before = state["settings"]
        other = [key for key, now in self.settings.items() if before.get(key) != now]
        if other:
            changes = ", ".join(f"{key}: {before.get(key)} there, {self.settings[key]} now" for key in other)
            problem = f"{path} was made with other settings ({changes})"
            raise UsageError(f"{problem}; use the same, remove it, or choose another --logs_dir")
        return state
