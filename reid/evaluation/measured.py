"""What one attack leaves of each query, and what several leave together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from reid.attacks.threat import Threat
from reid.evaluation.goals import budget_of, goal_of_attack
from reid.evaluation.results import Result


@dataclass(frozen=True, eq=False)
class Measured:
    """A result, with the average precision of each query (Q,) and the rank of its first match: NaN where it was not
    asked. `goal` is one of GOALS or None, `eps` the budget of a component in [0, 1]."""

    result: Result
    precision: np.ndarray
    first: np.ndarray

    @property
    def kind(self) -> str:
        return str(self.result.attack["kind"])

    @property
    def goal(self) -> str | None:
        return goal_of_attack(self.result.attack, self.result.protocol["side"], self.result.victim["sha256"])

    @property
    def settings(self) -> dict[str, Any]:
        return self.result.attack["settings"]

    @property
    def threat(self) -> Threat:
        return Threat.from_dict(self.result.threat) if self.result.threat else Threat(0.0, 0.0)

    @property
    def eps(self) -> float:
        return budget_of(self.result.attack, self.threat)

    @property
    def total(self) -> float:
        """What it may change in all."""
        return self.threat.eps_total

    @property
    def name(self) -> str:
        return str(self.result.attack["name"])

    @property
    def mAP(self) -> float:
        return float(np.nanmean(self.precision))


class Left(NamedTuple):
    """What attacks leave of each query (Q,): its average precision and the rank of its first match."""

    precision: np.ndarray
    first: np.ndarray

    @property
    def mAP(self) -> float:
        return float(np.nanmean(self.precision))


def worst(measured: Sequence[Measured]) -> Left:
    """The least precision and the last rank of each query, over attacks, of which there is one at least. A query that
    none was tried on has NaN."""
    least = reduce(np.fmin, (each.precision for each in measured))
    return Left(least, reduce(np.fmax, (each.first for each in measured)))


def count(each: Measured | Left) -> int:
    """How many queries were attacked."""
    return int((~np.isnan(each.precision)).sum())


def gap(first: Sequence[Measured], second: Sequence[Measured]) -> float:
    """By how much mAP the worst of the first attacks is above that of the second, on the queries of both; NaN where
    there are none."""
    if not first or not second:
        return np.nan
    difference = worst(first).precision - worst(second).precision
    return float(np.nanmean(difference)) if not np.isnan(difference).all() else np.nan
