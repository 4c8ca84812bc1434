"""The records of the defence study: RECORDS/SUBJECT/ROW/NAME.json, as studies/record.py writes them.

SUBJECT is seed0, seed1, ..., the demo whose model all rows start from, or osnet, a model of others; ROW is in ROWS, or
one with another weight of the clean anchor, such as fare-anchor-4; NAME is validation or test, by reid-fast-v1 on
validation identities and on query and gallery, or standard, by reid-standard-v1.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reid.defenses import DEFENSES
from reid.errors import ReidError

if TYPE_CHECKING:
    from reid.evaluation.intervals import Interval

UNDEFENDED, OTHERS = "undefended", "osnet"
TRAINED = tuple(DEFENSES)
ROWS = (UNDEFENDED, *TRAINED)
SEEDS = (0, 1, 2)  # of all rows
MORE_SEEDS = (*SEEDS, 3, 4)  # of those that are chosen
VALIDATION, TEST, STANDARD = "validation", "test", "standard"
CLEAN = "clean"
GOALS = {
    "universal": "universal 8 + 8",
    "universal_equal_total": "delta 16",
    "image": "image",
    "image_gallery": "image, with gallery",
}
COLUMNS = {CLEAN: CLEAN, **GOALS}


@dataclass(frozen=True)
class Record:
    """What a suite found on a model; mAP are fractions."""

    content: Mapping[str, Any]

    def worst(self, column: str) -> float:
        """The mAP of the verdict, or of clean images."""
        return float(self.content[CLEAN] if column == CLEAN else self.content["worst"][column])

    def alone(self, column: str) -> float:
        """The mAP that the strongest attack leaves by itself, or of clean images."""
        return float(self.content[CLEAN] if column == CLEAN else self.content["strongest"][column]["mAP"])

    def interval(self, column: str) -> tuple[float, float]:
        """That of `worst`, 95 % over identities."""
        low, high = self.content["intervals"][column]
        return float(low), float(high)

    @property
    def how(self) -> list[Any]:
        """What two records that are compared must share."""
        return [self.content[key] for key in ("suite", "protocol", "eps", "contents")]

    @property
    def flags(self) -> set[str]:
        """The names of those that were raised."""
        return {flag["name"] for flag in self.content["flags"]}

    def precision(self, column: str) -> np.ndarray:
        """The average precision of each query (Q,), as the verdict has it."""
        return np.array(self.content["precision"][column])


class Difference(NamedTuple):
    """Of two rows: by seed, the difference of their mAP; of all seeds together the mean over queries, and its interval
    over identities."""

    by_seed: dict[int, float]
    mean: float
    interval: Interval

    @property
    def sign(self) -> int:
        """1 or -1 where it is more than chance: the interval has no 0, and it has this sign in every seed. Else 0."""
        signs = {int(np.sign(value)) for value in (*self.interval, *self.by_seed.values())}
        return signs.pop() if len(signs) == 1 else 0


@dataclass(frozen=True)
class Study:
    """All records, by subject, row and name."""

    records: Mapping[tuple[str, str, str], Record]

    @property
    def restarted(self) -> list[str]:
        """Subjects whose rows do not all start from the same file."""
        starts: dict[str, set[str]] = defaultdict(set)
        for (subject, _, _), record in self.records.items():
            starts[subject].add(record.content["start"])
        return [subject for subject, found in starts.items() if len(found) > 1]

    def of(self, row: str, name: str, seeds: Collection[int] = SEEDS) -> dict[int, Record]:
        """By seed; one without a record is left out."""
        found = {seed: self.records.get((f"seed{seed}", row, name)) for seed in seeds}
        return {seed: record for seed, record in found.items() if record}

    def score(self, row: str) -> float | None:
        """What rows are chosen by: on validation identities, the mean of all COLUMNS in all SEEDS. None: not known."""
        records = self.of(row, VALIDATION)
        if len(records) < len(SEEDS):
            return None
        return mean(record.worst(column) for record in records.values() for column in COLUMNS)

    def first(self, row: str, name: str) -> Record | None:
        """That of the first seed."""
        return self.of(row, name, SEEDS[:1]).get(SEEDS[0])

    def ranked(self, among: Collection[str] = TRAINED) -> list[str]:
        """Rows with a score, the best first."""
        scores = {row: score for row in among if (score := self.score(row)) is not None}
        return sorted(scores, key=lambda row: -scores[row])

    def best(self, count: int, among: Collection[str]) -> list[str]:
        """The best rows by score. Raises ReidError while one of the rows has none."""
        if missing := [row for row in among if self.score(row) is None]:
            seeds = " ".join(map(str, SEEDS))
            problem = f"no validation records in all of the seeds {seeds} of {', '.join(missing)}"
            raise ReidError(f"{problem}; run bash studies/defenseStudy.sh {seeds}")
        return self.ranked(among)[:count]

    def difference(self, row: str, other: str, column: str) -> Difference | None:
        """`row` minus `other` on query and gallery, in the seeds of both. None where there are none.

        Raises ReidError where they were not judged alike.
        """
        from reid.evaluation.intervals import interval

        first, second = (self.of(each, TEST, MORE_SEEDS) for each in (row, other))
        values, people, by_seed = [], [], {}
        for seed in sorted(first.keys() & second.keys()):
            if first[seed].how != second[seed].how:
                problem = f"{row} and {other} of seed {seed} were not judged by the same suite on the same images"
                raise ReidError(f"{problem}; remove the record of one, and run the study again")
            values.append(first[seed].precision(column) - second[seed].precision(column))
            people.append(np.array([f"{seed} {pid}" for pid in first[seed].content["pids"]]))
            by_seed[seed] = float(values[-1].mean())
        if not values:
            return None
        every = np.concatenate(values)
        return Difference(by_seed, float(every.mean()), interval(every, np.concatenate(people)))


def read_study(folder: Path) -> Study:
    """The records in a folder, which may be empty. Raises ReidError for a file that is no record."""
    paths = sorted(folder.glob("*/*/*.json"))
    return Study({(path.parts[-3], path.parts[-2], path.stem): _read(path) for path in paths})


def _read(path: Path) -> Record:
    try:
        record = Record(json.loads(path.read_text(encoding="utf-8")))
        for column in COLUMNS:
            record.worst(column), record.alone(column), record.interval(column)
            if len(record.precision(column)) != len(record.content["pids"]):
                raise ValueError(f"{column} is not of all queries")
        if not all(isinstance(record.content[key], str) for key in ("trained", "start")):
            raise ValueError("trained and start are words")
        _ = record.how, record.flags, float(record.content["seconds"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ReidError(f"{path} is no record of the study ({error!r}); remove it, and run the study again") from error
    return record
