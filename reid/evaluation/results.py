"""Result records: one JSON file per model, attack, dataset and seed; see docs/results-format.md. Read without torch."""

import hashlib
import json
import logging
import platform
import re
import subprocess
import zipfile
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import reid
from reid.errors import ReidError
from reid.runtime.files import temporary_sibling, write_atomically

if TYPE_CHECKING:
    from reid.evaluation.ranking import Ranking

SCHEMA_VERSION = 2
CMC_RANKS = (1, 5, 10)
SUMMARY = "-summary.json"  # how names of the verdicts of suites end
# Kinds of attacks in records of the first schema, by how names began; all others are universal.
OLD_KINDS = {"clean": "clean", "random": "control", "PGD": "image"}  # without a file
OLD_FILES = {"re-learnt type ": "relearnt"}
REQUIRED = {
    "metrics": ("mAP", "mINP", "cmc", "num_valid", "num_skipped", "chance_mAP"),
    "victim": ("path", "arch", "sha256"),
    "attack": ("name", "kind", "noise_type", "sha256"),
    "dataset": ("name", "split", "num_query", "num_gallery"),
}
OPTIONAL = ("detector", "notes")  # fields that older files lack

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What was measured, on what, and how it can be repeated; every value is plain JSON.

    `metrics` come from `metrics_of`; `threat` is empty for clean images; `spent` was measured on the attacked images,
    `passes` counts those that the attack sent through the model; `protocol` is all that makes two scores comparable;
    `checks` are dicts of name, passed and detail; `detector` is what its rankings betray, empty where that was not
    measured; `notes` belong to people: no program changes one in a file.
    Raises ReidError when a part lacks one of the keys in REQUIRED.
    """

    metrics: dict[str, Any]
    victim: dict[str, Any]
    attack: dict[str, Any]
    dataset: dict[str, Any]
    threat: dict[str, Any]
    spent: dict[str, float]
    passes: dict[str, int]
    protocol: dict[str, Any]
    checks: list[dict[str, Any]]
    seed: int
    versions: dict[str, Any]
    command: str
    seconds: float
    detector: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        for part, keys in REQUIRED.items():
            _require(f"the result's {part}", keys, getattr(self, part))

    @property
    def protocol_hash(self) -> str:
        """Two results may be compared only when these are equal."""
        return short_hash(self.protocol)

    @property
    def file_name(self) -> str:
        """See the function of the same name."""
        return file_name(vars(self))


def file_name(record: Mapping[str, Any]) -> str:
    """Where the result of an experiment goes: readable parts, then a hash of all that tells experiments apart.

    `record` has at least the fields of `Result` that are used here. A file counts by its sha256, so moving it changes
    nothing.
    """
    victim, attack, dataset, seed = (record[part] for part in ("victim", "attack", "dataset", "seed"))
    parts = (dataset["name"], victim["arch"], Path(victim["path"]).name, attack["name"])
    slug = "-".join(re.sub(r"[^a-z0-9]+", "_", str(part).lower()).strip("_") for part in parts)
    identity = {part: record[part] for part in ("dataset", "threat", "protocol", "seed")} | {
        "victim": victim["sha256"] or victim["path"],
        "attack": [attack["sha256"] or attack["name"], attack["noise_type"], attack.get("settings")],
    }
    return f"{slug[:150]}-seed{seed}-{short_hash(identity)}.json"


def metrics_of(ranking: "Ranking") -> dict[str, Any]:
    """The scores of a ranking as plain values, fractions in [0, 1]: what `Result.metrics` holds."""
    names = ("mAP", "mINP", "chance_mAP", "num_valid", "num_skipped", "collapsed")
    cmc = {
        protocol: {str(k): float(curve[min(k, len(curve)) - 1]) for k in CMC_RANKS}
        for protocol, curve in ranking.cmc.items()
    }
    return {name: getattr(ranking, name) for name in names} | {"cmc": cmc}


def versions() -> dict[str, str | None]:
    """Versions of what computed a result. `commit` is None when the code does not run from a git checkout."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "project": reid.__version__,
        "commit": _commit(Path(reid.__file__).parents[1]),
    }


def _commit(root: Path) -> str | None:
    """Commit of the checkout at `root`, with "-dirty" after it when tracked files differ."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("no git commit: %s", error)
        return None


def short_hash(value: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of the SHA-256 of a JSON-like mapping, in any order of its keys."""
    return hashlib.sha256(_dump(value).encode()).hexdigest()[:8]


def write_result(
    folder: str | Path, result: Result, ranking: "Ranking | None" = None, pids: np.ndarray | None = None
) -> Path:
    """Write `result` into `folder`, whole or not at all, and return the file.

    What `ranking` says of each query goes into an `.npz` of the same name, with its pid if `pids` has those of all
    queries. A file of the same experiment is replaced and its `notes` are kept; one that cannot be read is set aside.
    Raises ReidError when a value is not JSON.
    """
    path = Path(folder) / result.file_name
    notes = {**result.notes, **_notes_in(path)}
    text = _dump({**asdict(result), "notes": notes, "protocol_hash": result.protocol_hash}, indent=2)
    if ranking is not None:
        values = {name: getattr(ranking, name) for name in ("valid_queries", "average_precision", "first_match_rank")}
        if pids is not None:
            values["pids"] = pids[ranking.valid_queries]
        with temporary_sibling(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **values)
    return write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def _notes_in(path: Path) -> dict[str, Any]:
    """The notes of the record in `path`, if there is one. A file that is no record gets another name."""
    if not path.exists():
        return {}
    try:
        return read_result(path).notes
    except ReidError as error:
        aside = path.with_name(f"{path.name}.unreadable")
        logger.warning("%s; kept as %s", error, aside.name)
        path.rename(aside)
        return {}


def read_result(path: str | Path) -> Result:
    """The record in a file. Raises ReidError naming the file when it is no whole record of this version."""
    return result_of(read_json(path), path)


def read_json(path: str | Path) -> Any:
    """What is in a JSON file of results. Raises ReidError naming the file when it cannot be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReidError(f"{path} is not a readable result: {error}; restore it, or evaluate again") from error


def result_of(record: Any, path: str | Path) -> Result:
    """What was read from a file as a result. Raises ReidError naming the file when it is no whole record."""
    if not isinstance(record, dict) or record.get("schema_version") not in (1, SCHEMA_VERSION):
        raise ReidError(f"{path} is no result of schema version 1 or {SCHEMA_VERSION}; keep only such files there")
    if record["schema_version"] == 1:
        record = _upgraded(record)
    names = [part.name for part in fields(Result) if part.name not in OPTIONAL]
    _require(str(path), names, record)
    try:
        return Result(**{name: record[name] for name in names}, **{name: record.get(name, {}) for name in OPTIONAL})
    except (ReidError, TypeError) as error:
        raise ReidError(f"{path}: {error}") from error


def _require(what: str, names: Iterable[str], values: Container[str]) -> None:
    if missing := [name for name in names if name not in values]:
        raise ReidError(f"{what} lacks {', '.join(missing)}; evaluate again to write a whole record")


def _upgraded(record: dict[str, Any]) -> dict[str, Any]:
    """A record of schema version 1, which told kinds by names, as one of this version."""
    attack = record.get("attacker")
    if not isinstance(attack, dict):
        return record
    begins = OLD_FILES if attack.get("sha256") else OLD_KINDS
    kind = next((kind for start, kind in begins.items() if str(attack.get("name")).startswith(start)), "universal")
    return record | {"attack": attack | {"kind": kind}, "passes": {}, "schema_version": SCHEMA_VERSION}


def read_results(folder: str | Path) -> list[Result]:
    """All records in the `.json` files of `folder`, by name; no summaries. Raises ReidError without such a folder."""
    if not Path(folder).is_dir():
        raise ReidError(f"no such results folder: {folder}; run evaluate.py to write results")
    return [read_result(path) for path in record_paths(folder)]


def record_paths(folder: str | Path) -> list[Path]:
    """The `.json` files of `folder`, by name, but for summaries."""
    return [path for path in sorted(Path(folder).glob("*.json")) if not path.name.endswith(SUMMARY)]


def per_query(folder: str | Path, result: Result) -> dict[str, np.ndarray]:
    """What was measured on each query: the arrays next to a result. Raises ReidError where they are not there."""
    path = (Path(folder) / result.file_name).with_suffix(".npz")
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ReidError(f"{path} is not readable ({error}); evaluate again, without --reuse") from error


def _dump(value: Mapping[str, Any], indent: int | None = None) -> str:
    try:
        return json.dumps(value, indent=indent, sort_keys=True, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ReidError(f"a result holds a value that JSON has no form for: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r}")
