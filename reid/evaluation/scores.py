"""Scores of a ranking, from the ranks of the matches of each query."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reid.errors import ReidError
from reid.evaluation.counting import Ranks


@dataclass(frozen=True)
class Ranking:
    """Scores of a ranking, all of them fractions in [0, 1].

    `cmc` has the curves "market1501" and "allshots", and "cuhk03" where it was asked for, float64 arrays (topk,): entry
    k counts matches at rank k + 1 or better. The arrays (num_valid,) are over the queries that have a match, in order:
    their positions among all queries, their average precision, and the rank (from 1) of their first match. `collapsed`
    says that the features of one side hardly differ: the order is exact, but means little.
    """

    mAP: float
    mINP: float
    cmc: dict[str, np.ndarray]
    chance_mAP: float
    num_valid: int
    num_skipped: int
    valid_queries: np.ndarray
    average_precision: np.ndarray
    first_match_rank: np.ndarray
    collapsed: bool = False


def scored(parts: Sequence[Ranks], topk: int, collapsed: bool) -> Ranking:
    """The scores of all queries, given in parts. Raises ReidError when none has a match."""
    ranks, matches, counted, drawn = (np.concatenate(column) for column in zip(*parts, strict=True))
    queries, valid = len(matches), np.flatnonzero(matches)
    if not len(valid):
        raise ReidError(
            f"none of the {queries} queries has a match in another camera, so nothing can be scored: "
            "check that query and gallery share pids, and that camids are not all the same (one camera)"
        )
    matches, counted = matches[valid], counted[valid]
    first = matches.cumsum() - matches
    order = np.arange(1, len(ranks) + 1) - np.repeat(first, matches)  # of each match among those of its query
    precision = np.add.reduceat(order / ranks, first) / matches

    def curve(places: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        hits = np.bincount(np.minimum(places, topk), weights, topk + 1)[:topk]
        return hits.cumsum() / (len(places) if weights is None else len(valid))

    cmc = {"market1501": curve(ranks[first] - 1), "allshots": curve(ranks - order, np.repeat(1 / matches, matches))}
    if drawn.size:
        cmc["cuhk03"] = curve(drawn.ravel())
    return Ranking(
        mAP=float(precision.mean()),
        mINP=float((matches / ranks[first + matches - 1]).mean()),
        cmc=cmc,
        chance_mAP=float(chance_average_precision(counted, matches).mean()),
        num_valid=len(valid),
        num_skipped=queries - len(valid),
        valid_queries=valid,
        average_precision=precision,
        first_match_rank=ranks[first],
        collapsed=collapsed,
    )


def chance_average_precision(counted: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Expected average precision of a random order of `counted` (N) images, `matches` (P) of them true; arrays.

    Given a match at rank r, each of the other P - 1 precedes it with probability (r - 1) / (N - 1), so its
    expected precision is (1 + (P - 1) (r - 1) / (N - 1)) / r. Averaged over r = 1 .. N that is
    (H_N + (P - 1) / (N - 1) (N - H_N)) / N with H_N = 1 + 1/2 + ... + 1/N.
    """
    harmonic = np.cumsum(1 / np.arange(1, counted.max() + 1))[counted - 1]
    return (harmonic + (matches - 1) / np.maximum(counted - 1, 1) * (counted - harmonic)) / counted
