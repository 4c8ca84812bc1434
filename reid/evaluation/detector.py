"""A detector that sees rankings alone: under a universal attack many people may be answered by the same images.

How sure it is, and what it does not say: docs/suite.md.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

FIRST = 10  # images of the gallery that a list has
QUERIES = 16  # of a set, each of another person
FALSE_ALARMS = 0.01  # share of clean sets of the people that the threshold comes from
HALVINGS, SETS = 10, 500  # of the people; sets that are drawn from each half
LEAST = 3 * QUERIES  # people; with fewer, all sets of a half would be about the same


class Half(NamedTuple):
    """Sets of queries (SETS, QUERIES) of some people, and the threshold that comes from the others."""

    sets: np.ndarray
    threshold: float


@dataclass(frozen=True)
class Detector:
    """Raises the alarm for a set of queries whose lists share more images than those of 99 % of the clean sets.

    `pids` are those of the queries (Q,), `clean` the positions of the first images for each (Q, FIRST), -1 where there
    are fewer. People are divided in two halves several times, by `seed`: one gives the threshold, sets of the other are
    judged, and the other way round. It takes as many people as are `enough`.
    """

    pids: np.ndarray
    clean: np.ndarray
    seed: int

    @cached_property
    def halves(self) -> list[Half]:
        """Two for each division of the people."""
        people, random = np.unique(self.pids), np.random.default_rng(self.seed)
        halves: list[Half] = []
        for _ in range(HALVINGS):
            first = np.isin(self.pids, random.permutation(people)[: len(people) // 2])
            pair = [_drawn(self.pids, np.flatnonzero(half), random) for half in (first, ~first)]
            limits = [np.quantile(shared(self.clean[sets]), 1 - FALSE_ALARMS, method="higher") for sets in pair]
            halves += [Half(sets, float(limit)) for sets, limit in zip(pair, reversed(limits), strict=True)]
        return halves

    @cached_property
    def _false_alarms(self) -> float:
        return self._share(self.clean)

    def judge(self, lists: np.ndarray) -> dict[str, Any]:
        """Of lists (Q, FIRST) under an attack: the share of sets that are `found`, and of clean ones, the
        `false_alarms`; fractions."""
        shares = {"found": self._share(lists), "false_alarms": self._false_alarms}
        return shares | {"sets": len(self.halves) * SETS, "queries_per_set": QUERIES, "k": FIRST}

    def _share(self, lists: np.ndarray) -> float:
        return float(np.mean([shared(lists[half.sets]) > half.threshold for half in self.halves]))


def enough(pids: np.ndarray) -> bool:
    """Whether queries with these pids (Q,) are of so many people that sets of them differ."""
    return len(np.unique(pids)) >= LEAST


def shared(lists: np.ndarray) -> np.ndarray:
    """How many images two lists of a set have in common, the mean over all pairs (S,), of sets of lists (S, N, K).

    A list has an image once; -1 is none.
    """
    sets, queries, length = lists.shape
    nobody = -1 - np.arange(queries * length).reshape(queries, length)  # another one at each place
    ordered = np.sort(np.where(lists < 0, nobody, lists).reshape(sets, -1), axis=1)
    pairs = sum((ordered[:, lag:] == ordered[:, :-lag]).sum(axis=1) for lag in range(1, queries))
    return pairs / (queries * (queries - 1) / 2)


def _drawn(pids: np.ndarray, queries: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """SETS x QUERIES of the queries at these positions, in each set of different people."""
    queries = queries[np.argsort(pids[queries], kind="stable")]
    _, first, number = np.unique(pids[queries], return_index=True, return_counts=True)
    people = random.random((SETS, len(first))).argsort(axis=1)[:, :QUERIES]
    return queries[first[people] + (random.random(people.shape) * number[people]).astype(int)]
