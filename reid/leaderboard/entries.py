"""What leaderboards keep of result files and summaries, each of which is read once. Their strings are a stranger's."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from reid.attacks.threat import SIDES, Threat
from reid.errors import ReidError, UsageError, printable
from reid.evaluation.goals import budget_of, goal_of_attack
from reid.evaluation.kinds import CLEAN, CONTROL, EXTERNAL, KINDS
from reid.evaluation.results import SUMMARY, Result, read_json, result_of

LONGEST = 300  # characters of a text that are shown


class Images(NamedTuple):
    """The images that were ranked."""

    dataset: str
    contents: str
    num_query: int
    num_gallery: int


class Subject(NamedTuple):
    """What is judged: a model, by its hash (its path where it has none), its reading, and the protocol without the
    side, as JSON."""

    model: str
    reading: str
    protocol: str


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A result. `goal` is None for clean images, `eps` is in grey levels, `mAP` and `chance` are fractions. `authors`
    and `link` are there for attacks of others. `problems` say why it may be wrong."""

    mAP: float
    attack: str
    budget: str
    goal: str | None
    eps: float
    external: bool
    authors: str
    link: str
    subject: Subject
    images: Images
    model: str
    arch: str
    chance: float
    problems: tuple[str, ...]


@dataclass
class Found:
    """Of all files: clean results, attacks, flags by subject and dataset, and how many were no results."""

    clean: list[Entry] = field(default_factory=list)
    attacks: list[Entry] = field(default_factory=list)
    flags: dict[tuple[Subject, str], set[str]] = field(default_factory=dict)
    others: int = 0


def read(folders: Sequence[Path]) -> Found:
    """The results in these folders and all folders in them. JSON files that are neither results nor summaries are
    counted. Raises ReidError for a missing folder, a damaged file, and where there is no result."""
    found = Found()
    for path in _files(folders):
        record = read_json(path)
        with _named(path):
            if path.name.endswith(SUMMARY):
                about, flags = _flags(record)
                found.flags.setdefault(about, set()).update(flags)
            elif not isinstance(record, dict) or "metrics" not in record:
                found.others += 1
            elif entry := _entry(result_of(record, path)):
                (found.attacks if entry.goal else found.clean).append(entry)
    if not found.clean and not found.attacks:
        raise ReidError(f"no results in {', '.join(map(str, folders))}; give folders that evaluate.py wrote")
    return found


def text(value: object) -> str:
    """A value of a file as it is shown: one line of printable characters, cut where it is too long."""
    line = printable(" ".join(str(value).split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    seen = set()
    for folder in folders:
        if not folder.is_dir():
            raise ReidError(f"no such results folder: {folder}; run evaluate.py to write results")
        for path in sorted(folder.rglob("*.json")):
            if (place := path.resolve()) not in seen and path.is_file():
                seen.add(place)
                yield path


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns what a value of another type raises into one line that names the file."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, UsageError) as error:
        problem = f"{path} is not as evaluate.py writes it ({text(f'{type(error).__name__}: {error}')})"
        raise ReidError(f"{problem}; evaluate again, or remove it") from error


def _entry(result: Result) -> Entry | None:
    """What a result says; None for a control, which is no attack."""
    attack, side, metrics = result.attack, result.protocol["side"], result.metrics
    if attack["kind"] not in KINDS or side not in SIDES:
        raise ValueError(f"kind {attack['kind']!r}, side {side!r}")
    if attack["kind"] == CONTROL:
        return None
    clean, external = (attack["kind"] == kind for kind in (CLEAN, EXTERNAL))
    threat = Threat(0.0, 0.0) if clean else Threat.from_dict(result.threat)
    said = attack["settings"] if external else {}
    return Entry(
        mAP=_fraction(metrics["mAP"]),
        attack=str(attack["name"]),
        budget="" if clean else threat.label,
        goal=goal_of_attack(attack, side, result.victim["sha256"]),
        eps=round(255 * budget_of(attack, threat), 4),
        external=external,
        authors=str(said.get("authors", "")),
        link=str(said.get("link", "")),
        subject=_subject(result.victim, result.protocol),
        images=_images(result.dataset),
        model=str("/".join(PurePath(str(result.victim["path"])).parts[-2:]).lstrip("/")),
        arch=str(result.victim["arch"]),
        chance=_fraction(metrics["chance_mAP"]),
        problems=tuple(_problems(result)),
    )


def _problems(result: Result) -> Iterator[str]:
    name = result.attack["name"]
    if result.metrics.get("collapsed"):
        yield f"{name}: collapsed features: they hardly differ"
    for check in result.checks:
        if not check["passed"]:
            yield f"{name}: not {check['name']}: {check['detail']}"


def _images(dataset: Mapping[str, Any]) -> Images:
    contents = str(dataset.get("contents") or "unknown")  # files of version 1 do not say it
    return Images(str(dataset["name"]), contents, int(dataset["num_query"]), int(dataset["num_gallery"]))


def _subject(victim: Mapping[str, Any], protocol: Mapping[str, Any]) -> Subject:
    rules = {key: value for key, value in protocol.items() if key != "side"}
    model = victim["sha256"] or victim["path"]
    return Subject(str(model), str(victim.get("reading", "own")), json.dumps(rules, sort_keys=True))


def _flags(summary: Mapping[str, Any]) -> tuple[tuple[Subject, str], set[str]]:
    """The model that a summary is about, with the dataset, and its flags in words."""
    about = _subject(summary["model"], summary["protocol"]), str(summary["dataset"])
    return about, {f"{flag['name']}: {flag['detail']}" for flag in summary["flags"]}


def _fraction(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{value!r} is not in [0, 1]")
    return float(value)
