"""mAP, mINP and CMC of a query set against a gallery, exact, some queries at a time; see docs/evaluation.md."""

import numpy as np
from torch import Tensor

from reid.evaluation.comparison import Comparison, block_rows
from reid.evaluation.counting import JUNK_PID, Ranks, SingleShot, match_ranks
from reid.evaluation.distances import DistanceSource, ordered_keys, squared_euclidean
from reid.evaluation.scores import Ranking, scored

__all__ = ["JUNK_PID", "Ranking", "block_rows", "rank"]


def rank(
    query_features: Tensor | np.ndarray,
    gallery_features: Tensor | np.ndarray,
    query_pids: Tensor | np.ndarray,
    gallery_pids: Tensor | np.ndarray,
    query_camids: Tensor | np.ndarray,
    gallery_camids: Tensor | np.ndarray,
    *,
    distances: DistanceSource = squared_euclidean,
    topk: int = 100,
    cuhk03_repeats: int = 0,
    cuhk03_seed: int = 0,
    chunk: int | None = None,
    sharded: bool = False,
) -> Ranking:
    """Rank the gallery (G, D) for every query (Q, D) by `distances` and score the ranking.

    Features may have any float type; they are compared in float32, on the device where they are, `chunk` queries at a
    time (None: see `block_rows`). Gallery images that share pid and camera with the query, and junk (pid -1), are left
    out; queries without any match are skipped and counted. Equal distances are ordered by position in the gallery.
    Average precision is the mean of the precision at each match; mINP the mean of matches / rank of the last match
    (Ye et al., TPAMI 2021). CMC "market1501" counts a query at its first match; "allshots" counts each match by
    1 / number of matches at its rank less the matches before it; "cuhk03" is the mean over `cuhk03_repeats`
    single-shot galleries per query, drawn with `cuhk03_seed`, and is left out where that is 0.
    Where `sharded`, each process gives the same queries and its part of the gallery, in order of rank, and gets the
    scores of the whole.
    Raises ReidError for features of wrong shape or with NaN or infinite values, when lengths disagree, no query has a
    match, a distance is infinite, and for a sharded gallery whose distances need all of it (re-ranking).
    """
    ids = (query_pids, gallery_pids, query_camids, gallery_camids)
    them = Comparison(query_features, gallery_features, *ids, sharded)
    shots = SingleShot(them.gallery, cuhk03_repeats, cuhk03_seed)

    def ranks(queries: np.ndarray, rows: Tensor) -> Ranks:
        keys = ordered_keys(rows, them.gallery.first)
        return match_ranks(keys, queries, them.pids[queries], them.camids[queries], them.gallery, shots)

    parts, source = them.in_blocks(ranks, distances, chunk, "ranking")
    return scored(parts, topk, source.collapsed)
