"""Intervals of mean scores by the bootstrap over identities: queries of one person rise and fall together."""

from typing import NamedTuple

import numpy as np

DRAWS, LEVEL = 2000, 0.95


class Interval(NamedTuple):
    low: float
    high: float


def interval(values: np.ndarray, pids: np.ndarray, seed: int = 0) -> Interval:
    """Of the mean of `values` (N,), such as average precisions, or differences of two on the same queries.

    The identities are drawn with replacement DRAWS times, each with all of its queries; the interval holds LEVEL of the
    means. A difference whose interval is on one side of 0 is more than chance.
    """
    known, places = np.unique(pids, return_inverse=True)
    sums, counts = np.bincount(places, values), np.bincount(places)
    drawn = np.random.default_rng(seed).integers(len(known), size=(DRAWS, len(known)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
