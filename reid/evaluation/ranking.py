"""mAP, mINP and CMC of a query set against a gallery, and who comes first; exact, some queries at a time; see
docs/evaluation.md."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from reid.evaluation.comparison import Comparison, block_rows
from reid.evaluation.counting import JUNK_PID, LAST, Ranks, SingleShot, match_ranks
from reid.evaluation.distances import DistanceSource, ordered_keys, squared_euclidean
from reid.evaluation.scores import Ranking, scored
from reid.runtime import distributed

__all__ = ["JUNK_PID", "RankList", "Ranking", "block_rows", "rank", "rank_list"]


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


class RankList(NamedTuple):
    """Who comes first: positions in the gallery (Q, K), -1 where fewer images count, and distances (Q, K) float32."""

    places: np.ndarray
    distances: np.ndarray


def rank_list(
    query_features: Tensor | np.ndarray,
    gallery_features: Tensor | np.ndarray,
    query_pids: Tensor | np.ndarray,
    gallery_pids: Tensor | np.ndarray,
    query_camids: Tensor | np.ndarray,
    gallery_camids: Tensor | np.ndarray,
    *,
    count: int,
    distances: DistanceSource = squared_euclidean,
    chunk: int | None = None,
    sharded: bool = False,
) -> RankList:
    """The first `count` images of the gallery for every query, in the very order that `rank` scores.

    All arguments are as there; queries of pid -1, whose person is unknown, get a list too.
    """
    ids = (query_pids, gallery_pids, query_camids, gallery_camids)
    them = Comparison(query_features, gallery_features, *ids, sharded)

    def first(queries: np.ndarray, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        keys = ordered_keys(rows, them.gallery.first)
        them.gallery.leave_out(keys, them.pids[queries], them.camids[queries])
        head = keys.topk(min(count, keys.shape[1]), largest=False)
        return head.values.cpu().numpy(), rows.gather(1, head.indices).cpu().numpy()

    parts, source = them.in_blocks(first, distances, chunk, "rank lists")
    own = [np.concatenate(column) for column in zip(*parts, strict=True)]
    keys, values = (np.hstack(every) for every in zip(*(distributed.every(own) if sharded else [own]), strict=True))
    order = keys.argsort(axis=1)[:, :count]
    keys, values = (np.take_along_axis(each, order, axis=1) for each in (keys, values))
    if source.constants is not None:
        values = (values + source.constants[:, None].cpu().numpy()).clip(min=0)
    return RankList(np.where(keys == LAST, -1, keys & 0xFFFFFFFF), values)
