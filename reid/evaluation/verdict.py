"""The verdict on a model: the worst case of each query, or the strongest of one perturbation for all."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reid.attacks.files import RELEASED_BUDGET
from reid.attacks.threat import Threat, format_budget
from reid.evaluation.convergence import optimality
from reid.evaluation.figures import away
from reid.evaluation.goals import ALSO, GOALS, ONE_FOR_ALL, same_budget
from reid.evaluation.intervals import interval
from reid.evaluation.kinds import CLEAN, TRANSFER
from reid.evaluation.measured import Left, Measured, count, worst
from reid.evaluation.results import Result, per_query
from reid.models.trial import repeats
from reid.models.victim import Victim
from reid.runtime import distributed

logger = logging.getLogger(__name__)

RANKS = (1, 5, 10)


class Traits(NamedTuple):
    """What a model does whatever the attack: whether gradients reach images, features are the same each time, and which
    other readings of images were as good as the chosen one."""

    differentiable: bool = True
    repeats: bool = True
    close: tuple[str, ...] = ()


HEALTHY = Traits()


def traits_of(victim: Victim) -> Traits:
    """From what the model does with drawn images."""
    return Traits(victim.differentiable, repeats(victim), victim.close)


@dataclass
class Judgement:
    """What was measured on a model so far. `pids` are those of all queries, `folder` has the results, `eps` is the
    budget of a component that the verdict is about, and `traits` are what is known of the model itself."""

    pids: np.ndarray
    folder: Path
    eps: float
    traits: Traits = HEALTHY
    measured: list[Measured] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Take a result that is in the folder. Warns of a clean one that the zoo knows otherwise."""
        values = distributed.from_main(lambda: per_query(self.folder, result))
        precision, first = np.full((2, len(self.pids)), np.nan)
        precision[values["valid_queries"]] = values["average_precision"]
        first[values["valid_queries"]] = values["first_match_rank"]
        self.measured.append(measured := Measured(result, precision, first))
        for line in away(result, precision, self.pids) if measured.kind == CLEAN else ():
            logger.warning("the clean mAP is not that of the zoo: %s", line)

    @property
    def clean(self) -> Measured:
        return next(each for each in self.measured if each.kind == CLEAN)

    @property
    def chance(self) -> float:
        return float(self.clean.result.metrics["chance_mAP"])

    def of(self, goal: str, eps: float | None = None) -> list[Measured]:
        """The attacks at a budget that serve a goal."""
        goals = (goal, *ALSO.get(goal, ()))
        return [
            each
            for each in self.measured
            if each.goal in goals and same_budget(each.eps, self.eps if eps is None else eps)
        ]

    def only(self, goal: str, eps: float | None = None) -> list[Measured]:
        """Those that have this very goal."""
        return [each for each in self.of(goal, eps) if each.goal == goal]

    def worst(self, goal: str, eps: float | None = None) -> Left | None:
        """Of a goal, on the queries that were attacked. Of attacks on each image the worst case of each query, which
        the attacker may also leave alone; of one perturbation for all the strongest. None where nothing was tried."""
        if not self.only(goal, eps):
            return None
        if goal in ONE_FOR_ALL:
            strongest = self._strongest(goal, eps)
            return Left(strongest.precision, strongest.first)
        found, clean = worst(self.of(goal, eps)), self.clean
        return Left(np.minimum(found.precision, clean.precision), np.maximum(found.first, clean.first))  # NaN stays

    def standing(self, goal: str, eps: float) -> tuple[int, ...]:
        """The queries that attacks of the goal did not bring down to chance yet."""
        found = self.worst(goal, eps)
        precision = self.clean.precision if found is None else np.fmin(found.precision, self.clean.precision)
        return tuple(np.flatnonzero(precision > self.chance).tolist())

    def some(self, share: float, seed: int = 0) -> tuple[int, ...]:
        """A share of the queries that have a match, and twenty at least, drawn once for all attacks."""
        valid = np.flatnonzero(~np.isnan(self.clean.precision))
        asked = min(len(valid), max(20, round(share * len(valid))))
        return tuple(sorted(np.random.default_rng(seed).permutation(valid)[:asked].tolist()))

    def summary(self, suite: str) -> dict[str, Any]:
        """The verdict as plain values: see docs/suite.md."""
        from reid.evaluation.flags import raised

        first, found = self.clean.result, {goal: self.worst(goal) for goal in GOALS}
        passes = [each.result.passes for each in self.measured]
        return {
            "suite": suite,
            "model": first.victim,
            "dataset": first.dataset["name"],
            "protocol": first.protocol,
            "seed": first.seed,
            "command": first.command,
            "eps": self.eps,
            "clean": self.clean.mAP,
            "chance": self.chance,
            "worst": {goal: each and each.mAP for goal, each in found.items()},
            "intervals": {goal: self._interval(each) for goal, each in {"clean": self.clean, **found}.items() if each},
            "queries": {goal: count(each) for goal, each in {"clean": self.clean, **found}.items() if each},
            "strongest": {goal: _told(self._strongest(goal)) for goal, each in found.items() if each},
            "success": {goal: _success(self.clean, each) for goal, each in found.items() if each},
            "spread": {goal: self._spread(goal) for goal, each in found.items() if each},
            "detector": self._detected(),
            "optimality": optimality(self.measured),
            "curve": self._curve(),
            "transfer": self._transfers(),
            "flags": raised(self),
            "passes": {key: sum(each.get(key, 0) for each in passes) for key in ("forward", "backward")},
            "seconds": sum(each.result.seconds for each in self.measured),
            "results": [each.result.file_name for each in self.measured],
        }

    def _interval(self, each: Measured | Left) -> list[float]:
        known = ~np.isnan(each.precision)
        return list(interval(each.precision[known], self.pids[known]))

    def _rivals(self, goal: str, eps: float | None = None) -> list[Measured]:
        """The attacks of a goal that may be its strongest: those that were tried on most queries."""
        attacks = (self.of if goal in ONE_FOR_ALL else self.only)(goal, eps)
        most = max(map(count, attacks))
        return [each for each in attacks if count(each) == most]

    def _strongest(self, goal: str, eps: float | None = None) -> Measured:
        """The attack of a goal that alone leaves the least."""
        return min(self._rivals(goal, eps), key=attrgetter("mAP"))

    def _detected(self) -> dict[str, dict[str, Any]]:
        """What the ranking betrays of the strongest attack of each goal, where that was measured."""
        found = {goal: self._strongest(goal).result.detector for goal in GOALS if self.only(goal)}
        return {goal: each for goal, each in found.items() if each}

    def _spread(self, goal: str) -> list[float]:
        """The least and most mAP that attacks of the goal leave by themselves."""
        left = [each.mAP for each in self._rivals(goal)]
        return [min(left), max(left)]

    def _curve(self) -> dict[str, dict[str, float]]:
        """mAP by budget and goal, where all queries were attacked."""
        curve = {}
        for eps in sorted({each.eps for each in self.measured if each.goal}):
            found = {goal: self.worst(goal, eps) for goal in GOALS}
            whole = {goal: each for goal, each in found.items() if each and count(each) == count(self.clean)}
            curve[format_budget(eps)] = {goal: each.mAP for goal, each in whole.items()}
        return {eps: row for eps, row in curve.items() if row}

    def _transfers(self) -> dict[str, dict[str, float]]:
        """mAP under attacks made on each other model, by its name and the attack's."""
        matrix: dict[str, dict[str, float]] = {}
        for each in self.measured:
            if each.kind == TRANSFER and same_budget(each.eps, self.eps):
                matrix.setdefault(each.settings["surrogate"], {})[each.settings["attack"]] = each.mAP
        return matrix


def main_budget(threats: Iterable[tuple[int, Threat]]) -> float:
    """That of a component which a verdict is about: 8/255 where it is among those of the threats, else the largest."""
    budgets = [threat.eps_component for _, threat in threats]
    return next((eps for eps in budgets if same_budget(eps, RELEASED_BUDGET)), max(budgets))


def _success(clean: Measured, found: Left) -> dict[str, float]:
    """Of the queries whose first match was among the first k: the share that the attacks drove out of it."""
    shares = {}
    for k in RANKS:
        before = (clean.first <= k) & ~np.isnan(found.first)
        shares[str(k)] = float((found.first[before] > k).mean()) if before.any() else 0.0
    return shares


def _told(each: Measured) -> dict[str, Any]:
    return {"attack": each.name, "result": each.result.file_name, "mAP": each.mAP, "queries": count(each)}
