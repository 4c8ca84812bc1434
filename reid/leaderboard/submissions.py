"""Submissions: attacks of others, which say what they are, on which model and images, and what they claim to reach."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid.attacks.base import NEEDS
from reid.attacks.threat import Threat, parse_budget
from reid.datasets import Dataset
from reid.errors import UsageError, few
from reid.evaluation.kinds import EXTERNAL
from reid.evaluation.results import Result
from reid.models.victim import Victim

LONGEST = 300
TEXTS = ("name", "authors", "link", "victim_sha256", "dataset", "contents", "file")
FIELDS = (*TEXTS, "threat", "needs", "claimed_mAP")
CLAIM = 0.001  # mAP by which an attack may reach less than it claims: other machines round otherwise


@dataclass(frozen=True)
class Submission:
    """What the JSON file of a submission says. `claimed_mAP` is a fraction, `file` lies in its folder."""

    name: str
    authors: str
    link: str
    victim_sha256: str
    dataset: str
    contents: str
    threat: Threat
    needs: tuple[str, ...]
    claimed_mAP: float
    file: Path

    def check_target(self, victim: Victim, dataset: Dataset, contents: str) -> None:
        """Raise UsageError where it was made for another model, or for other images."""
        if self.victim_sha256 != victim.sha256:
            theirs, ours = self.victim_sha256[:12], str(victim.sha256)[:12]
            problem = f"{self.name} was made for the model of hash {theirs}, not for {ours}"
            raise UsageError(f"{problem}; give that model as --resume")
        if (self.dataset, self.contents) != (dataset.name, contents):
            theirs, ours = f"{self.dataset} ({self.contents[:12]})", f"{dataset.name} ({contents[:12]})"
            raise UsageError(f"{self.name} was made for other images: {theirs}, not {ours}; give those as --dataset")

    def check_claim(self, result: Result) -> None:
        """Raise UsageError where its result leaves more mAP than it claims."""
        reached = result.metrics["mAP"]
        if result.attack["kind"] == EXTERNAL and reached > self.claimed_mAP + CLAIM:
            claim = f"{self.name} claims mAP {100 * self.claimed_mAP:.2f} and reaches {100 * reached:.2f}"
            raise UsageError(f"{claim}; correct claimed_mAP, or submit what reaches it")


def read_submission(path: Path) -> Submission:
    """The submission in a JSON file. Raises UsageError when it is not one, or names a file outside of its folder."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a readable submission: {error}; give its JSON file") from error
    if not isinstance(values, dict) or {*values} != {*FIELDS}:
        given = {*values} if isinstance(values, dict) else set()
        lacks, unknown = (few(sorted(names)) or "nothing" for names in ({*FIELDS} - given, given - {*FIELDS}))
        raise UsageError(f"{path} is no submission: it lacks {lacks}, and has unknown {unknown} (docs/leaderboard.md)")
    for name in TEXTS:
        value = values[name]
        if not (isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= LONGEST):
            raise UsageError(f"{path}: {name} is {few([value])!r}, not a line of text of at most {LONGEST} characters")
    texts = {name: values[name] for name in TEXTS if name != "file"}
    threat, needs, claim = (values[name] for name in ("threat", "needs", "claimed_mAP"))
    return Submission(
        **texts,
        threat=_threat(threat, path),
        needs=_needs(needs, path),
        claimed_mAP=_claim(claim, path),
        file=_inside(path, values["file"]),
    )


def _threat(values: Any, path: Path) -> Threat:
    if not isinstance(values, dict) or {*values} != {"eps_color", "eps_delta", "side"}:
        raise UsageError(f"{path}: threat is {few([values])}; it needs eps_color, eps_delta and side")
    try:
        return Threat(parse_budget(values["eps_color"]), parse_budget(values["eps_delta"]), values["side"])
    except UsageError as error:
        raise UsageError(f"{path}: threat: {error}") from error


def _needs(values: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(values, list) or any(value not in NEEDS for value in values):
        raise UsageError(
            f"{path}: needs is {few([values])}, not a list of what the attack knows, of {', '.join(NEEDS)}"
        )
    return tuple(values)


def _claim(value: Any, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UsageError(f"{path}: claimed_mAP is {few([value])!r}, not a number in [0, 1], such as 0.123")
    return float(value)


def _inside(path: Path, name: str) -> Path:
    """A file or folder that a submission names."""
    folder = path.parent.resolve()
    try:
        file = (folder / name).resolve()
        if file.is_relative_to(folder) and file.exists():
            return file
    except (OSError, ValueError):  # what no file can be called
        pass
    raise UsageError(f"{path}: there is no {few([name])!r} in its folder; put the file there, and name it from there")
