"""The results of a defence study, by model and seed, with what is derived from them.

STUDY/ANY/FOLDER/row.json says how a model was trained, such as

    {"name": "mixed-all", "defense": "mixed", "attackers": ["frozen", "online", "pgd"]}

and its results by evaluate.py --adaptive are in the folder `results` next to that file. One model of each seed has the
defence "undefended": the others were trained from it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reid.defenses import DEFENSES
from reid.errors import ReidError
from reid.runtime.budgets import format_budget
from reid.training.adversaries import ADVERSARIES
from studies.columns import CLEAN, PGD, RANDOM_BOTH, RELEARNT, column, is_learnt_on, lowest

if TYPE_CHECKING:
    from reid.evaluation.results import Result

UNDEFENDED = "undefended"
FROZEN, TRANSFER = "frozen", "transfer"
COLUMNS = (CLEAN, FROZEN, RELEARNT, PGD, TRANSFER, RANDOM_BOTH)
GAP_CLOSED, FROZEN_SHARE, CLEAN_CHANGE = "gap closed", "frozen / undefended clean", "change of clean mAP"


@dataclass(frozen=True)
class Row:
    """A line of the tables: a name for people, and how its models were trained."""

    name: str
    defense: str
    attackers: tuple[str, ...]

    @property
    def is_defended(self) -> bool:
        """Whether these models are measured against the undefended one."""
        return self.defense != UNDEFENDED

    @property
    def place(self) -> tuple[int, int, list[int], str]:
        """Sorts rows by defence, by number and kind of attackers, by name."""
        defenses, attackers = [UNDEFENDED, *DEFENSES, self.defense], [*ADVERSARIES, *self.attackers]
        kinds = [attackers.index(each) for each in self.attackers]
        return defenses.index(self.defense), len(kinds), kinds, self.name


@dataclass(frozen=True)
class Study:
    """`scores[row][seed][column]` is a mAP, or what is derived from some; `relearnt` are all re-learnt attacks, by row
    and seed; `budgets` are the total budgets of a column, in words."""

    scores: dict[Row, dict[int, dict[str, float]]]
    relearnt: dict[tuple[Row, int], list[Result]]
    budgets: dict[str, str]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for seeds in self.scores.values() for seed in seeds})

    @property
    def rows(self) -> list[Row]:
        """The undefended row, then by defence and attackers, then by name."""
        return sorted(self.scores, key=lambda row: row.place)

    def values(self, row: Row, column: str) -> dict[int, float]:
        """By seed; a seed in which it was not measured is left out."""
        return {seed: scores[column] for seed, scores in sorted(self.scores[row].items()) if column in scores}

    def differences(self, row: Row, other: Row, column: str) -> dict[int, float]:
        """`row` minus `other` in the same seed."""
        values, others = self.values(row, column), self.values(other, column)
        return {seed: value - others[seed] for seed, value in values.items() if seed in others}


BySeed = Mapping[int, Mapping[Row, Sequence["Result"]]]


def read_study(folders: Sequence[Path]) -> Study:
    """The study in folders as the module describes them; rows of several folders come together.

    Raises ReidError for results that must not be compared, and for a seed without its undefended model.
    """
    results = _read(folders)
    _check_comparable(results)
    scores: dict[Row, dict[int, dict[str, float]]] = defaultdict(dict)
    relearnt: dict[tuple[Row, int], list[Result]] = {}
    budgets: dict[str, set[float]] = defaultdict(set)
    for seed, rows in results.items():
        undefended = next((measured for row, measured in rows.items() if not row.is_defended), None)
        if undefended is None:
            raise ReidError(f"seed {seed} lacks results of an {UNDEFENDED} model; evaluate it with --adaptive first")
        in_study = partial(_column, undefended=undefended[0].victim["sha256"])
        before = lowest(undefended, in_study)
        if not {CLEAN, RELEARNT} <= before.keys():
            raise ReidError(f"seed {seed}: {UNDEFENDED} lacks clean or re-learnt results; evaluate it with --adaptive")
        for row, measured in rows.items():
            after = lowest(measured, in_study)
            scores[row][seed] = after | (_derived(after, before) if row.is_defended else {})
            relearnt[row, seed] = [result for result in measured if in_study(result) == RELEARNT]
            for result in measured:
                if (name := in_study(result)) and result.threat:
                    budgets[name].add(min(1.0, result.threat["eps_color"] + result.threat["eps_delta"]))
    words = {name: " or ".join(map(format_budget, sorted(values))) for name, values in budgets.items()}
    return Study(dict(scores), relearnt, words)


def _read(folders: Sequence[Path]) -> BySeed:
    from reid.evaluation.results import read_results

    results: dict[int, dict[Row, list[Result]]] = defaultdict(dict)
    for path in (path for folder in folders for path in sorted(folder.glob("*/*/row.json"))):
        row, folder = _row(path), path.with_name("results")
        measured = read_results(folder) if folder.is_dir() else []
        if len({(result.victim["sha256"], result.seed) for result in measured}) > 1:
            raise ReidError(f"{folder} holds results of more than one model or seed; empty it and evaluate again")
        for seed in {result.seed for result in measured}:
            if row in results[seed] or (not row.is_defended and any(not other.is_defended for other in results[seed])):
                raise ReidError(f"{path}: {row.name} of seed {seed} is in another folder too; keep one of them")
            results[seed][row] = measured
    if not results:
        raise ReidError(f"no results next to {folders[0]}/*/*/row.json; run evaluate.py --adaptive to write some")
    return results


def _row(path: Path) -> Row:
    try:
        content = json.loads(path.read_text())
        return Row(str(content["name"]), str(content["defense"]), tuple(map(str, content["attackers"])))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ReidError(f"{path} does not say name, defense and attackers of a model ({error!r}); mend it") from error


def _column(result: Result, undefended: str) -> str | None:
    """The column of a result, given the hash of the undefended model of its seed."""
    attack = result.attack
    if attack["kind"] != "universal":
        return column(result)
    if attack["noise_type"] != 0 or attack.get("learnt_on") is None:
        return None
    if is_learnt_on(result, undefended):
        return FROZEN
    return None if is_learnt_on(result, result.victim["sha256"]) else TRANSFER


def _check_comparable(results: BySeed) -> None:
    for seed, rows in results.items():
        datasets = [result.dataset for measured in rows.values() for result in measured]
        if any(dataset != datasets[0] for dataset in datasets):
            raise ReidError(f"the results of seed {seed} are of different datasets; evaluate all its rows on one")
    hashes = {result.protocol_hash for rows in results.values() for measured in rows.values() for result in measured}
    if len(hashes) > 1:
        raise ReidError("the results are of different protocols; evaluate all rows with the same options")


def _derived(scores: Mapping[str, float], undefended: Mapping[str, float]) -> dict[str, float]:
    """What is required of a defended model, from its scores and those of the undefended one."""
    derived = {}
    gap = undefended[CLEAN] - undefended[RELEARNT]
    if RELEARNT in scores and gap > 0:
        derived[GAP_CLOSED] = (scores[RELEARNT] - undefended[RELEARNT]) / gap
    if FROZEN in scores:
        derived[FROZEN_SHARE] = scores[FROZEN] / undefended[CLEAN]
    if CLEAN in scores:
        derived[CLEAN_CHANGE] = scores[CLEAN] - undefended[CLEAN]
    return derived
