"""Resume: the whole state of a run in one file per epoch, written whole, tied to the settings that made it."""

from pathlib import Path
from typing import Any

import torch

from reid.errors import CheckpointError, UsageError
from reid.files import read_torch, write_atomically

STATE_FILE = "state.pth"


def save(folder: str | Path, epoch: int, settings: dict[str, Any], **state: Any) -> Path:
    """Write `folder/state.pth` after `epoch` (count of finished epochs). `settings`: what must be equal to go on."""
    content = {"epoch": epoch, "settings": settings, **state}
    return write_atomically(Path(folder) / STATE_FILE, lambda path: torch.save(content, path))


def load(resume_from: str | None, logs_dir: str | Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The state to go on from, or None for a fresh start.

    `resume_from`: None (fresh), "auto" (the state in `logs_dir` if there is one), a folder, or a state file.
    Raises UsageError when the state was made with other settings, CheckpointError when it is no state file.
    """
    if resume_from is None:
        return None
    path = Path(logs_dir if resume_from == "auto" else resume_from)
    if path.is_dir():
        path = path / STATE_FILE
    if resume_from == "auto" and not path.is_file():
        return None
    state = read_torch(path)
    if not isinstance(state, dict) or "epoch" not in state or "settings" not in state:
        raise CheckpointError(f"{path} is not the state of a run; give the --logs_dir of one, or its {STATE_FILE}")
    differing = [key for key in settings if state["settings"].get(key) != settings[key]]
    if differing:
        changes = ", ".join(f"{key}: {state['settings'].get(key)} there, {settings[key]} now" for key in differing)
        raise UsageError(f"{path} was made with other settings ({changes}); use the same, or another --logs_dir")
    return state
