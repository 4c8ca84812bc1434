"""mAP, mINP and CMC of a query set against a gallery, exact, some queries at a time.

docs/evaluation.md describes the protocol.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from reid.errors import ReidError
from reid.evaluation.counting import JUNK_PID, Gallery, match_ranks
from reid.evaluation.distances import (
    Distances,
    DistanceSource,
    as_features,
    full_precision,
    ordered_keys,
    squared_euclidean,
)
from reid.evaluation.single_shot import SingleShot
from reid.evaluation.threads import in_threads
from reid.runtime import distributed

__all__ = ["JUNK_PID", "Ranking", "block_rows", "chance_average_precision", "rank", "rank_distances"]
CPU_KEYS, GPU_KEYS = 2**19, 2**24  # distances that are ordered at a time; on a CPU so few that they stay in the cache


@dataclass(frozen=True)
class Ranking:
    """Scores of a ranking; all of them are fractions in [0, 1].

    `cmc` has the curves "market1501" and "allshots", and "cuhk03" where it was asked for, float64 arrays (topk,): entry
    k counts matches at rank k + 1 or better. The three arrays (num_valid,) are over the queries that have a match, in
    query order: their positions among all queries, their average precision, and the rank (from 1) of their first
    match. `collapsed` says that the features of all queries or of the whole gallery hardly differ: the order is exact,
    but means little.
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

    Features may have any float type; they are compared in float32, on the device where they are. The protocol and the
    other options are those of `rank_distances`. Where `sharded`, each process has all queries and its own part of the
    gallery.
    Raises ReidError for features of wrong shape or with NaN or infinite values, where `rank_distances` does, and for a
    sharded gallery whose distances need all of it (re-ranking).
    """
    query, gallery = as_features(query_features, "query"), as_features(gallery_features, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ReidError(
            f"query features have length {query.shape[1]}, gallery features {gallery.shape[1]}; use one model"
        )
    with full_precision(query.device):
        return rank_distances(
            distances(query, gallery.to(query.device), sharded),
            query_pids,
            gallery_pids,
            query_camids,
            gallery_camids,
            topk=topk,
            cuhk03_repeats=cuhk03_repeats,
            cuhk03_seed=cuhk03_seed,
            chunk=chunk,
            sharded=sharded,
        )


def rank_distances(
    distances: Distances,
    query_pids: Tensor | np.ndarray,
    gallery_pids: Tensor | np.ndarray,
    query_camids: Tensor | np.ndarray,
    gallery_camids: Tensor | np.ndarray,
    *,
    topk: int = 100,
    cuhk03_repeats: int = 0,
    cuhk03_seed: int = 0,
    chunk: int | None = None,
    sharded: bool = False,
) -> Ranking:
    """Score the ranking by `distances`, which are asked for `chunk` queries at a time (None: see `block_rows`).

    Gallery images that share pid and camera with the query, and junk (pid -1), are left out; queries without
    any match are skipped and counted. Equal distances are ordered by position in the gallery. Average
    precision is the mean of the precision at each match; mINP the mean of matches / rank of the last match
    (Ye et al., TPAMI 2021). CMC "market1501" counts a query at its first match; "allshots" counts each match
    by 1 / number of matches at its rank less the matches before it; "cuhk03" is the mean over `cuhk03_repeats`
    single-shot galleries per query, drawn with `cuhk03_seed`, and is left out where that is 0.
    Where `sharded`, the gallery is that of all processes of the job one after the other, in order of rank: each gives
    the pids, camids and columns of its own part and the same queries, and gets the same scores.
    Raises ReidError when lengths disagree, no query has a match, or a distance is NaN or infinite.
    """
    pids, camids = _ids(query_pids, query_camids, "query")
    gallery = Gallery(*_ids(gallery_pids, gallery_camids, "gallery"), sharded)
    single_shot = SingleShot(gallery, cuhk03_repeats, cuhk03_seed) if cuhk03_repeats else None
    chunk = chunk or block_rows(len(pids), len(gallery.pids), distances.device, sharded)
    starts = range(0, len(pids), chunk)
    at_a_time = max(1, (CPU_KEYS if distances.device.type == "cpu" else GPU_KEYS) // len(gallery.pids))

    def scores(start: int) -> list[_Scores]:
        block = distances.rows(slice(start, start + chunk))
        _check_block(block, len(pids[start : start + chunk]), gallery)
        first = range(start, start + len(block), at_a_time)
        parts = zip(first, block.split(at_a_time), strict=True)
        return [_scores(part, query, pids, camids, gallery, single_shot, topk) for query, part in parts]

    # Processes exchange their sums in one order, so not in threads.
    blocks = map(scores, starts) if sharded else in_threads(scores, starts, distances.device)
    bar = tqdm(blocks, "ranking", len(starts), leave=False, disable=None if distributed.is_main() else True)
    return _ranking([part for parts in bar for part in parts], len(pids), distances.collapsed)


def block_rows(queries: int, images: int, device: torch.device, sharded: bool = False) -> int:
    """Queries whose distances to a gallery of so many images are computed at a time, at least 16 where there are.

    On a CPU each thread has a block: up to 256 queries and 512 MB for all threads, and some blocks for each thread, so
    that none waits long for the last. On a GPU up to 1024 queries and 512 MB.
    """
    if device.type != "cpu":
        return max(16, min(1024, 2**27 // images))
    threads = 1 if sharded else torch.get_num_threads()
    most = max(16, min(256, 2**27 // (threads * images), queries // (4 * threads)))
    return -(-queries // -(-queries // most))  # all of about the same size


class _Scores(NamedTuple):
    """Of the queries with a match (n,) in a piece; `hits` (topk,) are how many of these count at each rank."""

    query: np.ndarray
    average_precision: np.ndarray
    inverse_penalty: np.ndarray
    first: np.ndarray
    chance: np.ndarray
    hits: dict[str, np.ndarray]


def _scores(
    block: Tensor,
    start: int,
    pids: np.ndarray,
    camids: np.ndarray,
    gallery: Gallery,
    single_shot: SingleShot | None,
    topk: int,
) -> _Scores:
    """Scores of the queries from `start` on, with distances `block` (b, columns)."""
    keys, query = ordered_keys(block, gallery.first), np.arange(start, start + len(block))
    ranks, kept = match_ranks(keys.clone() if single_shot else keys, pids[query], camids[query], gallery)
    valid = ranks.any(axis=1)
    ranks, kept, query = ranks[valid], kept[valid], query[valid]
    present = ranks > 0
    matches = present.sum(axis=1)
    order = present.cumsum(axis=1)  # the first match is 1
    precision = np.where(present, order / np.maximum(ranks, 1), 0)
    first = np.where(present, ranks, len(gallery.pids)).min(axis=1, initial=len(gallery.pids))
    places = {
        "market1501": (first - 1, np.ones(len(first))),
        "allshots": ((ranks - order)[present], np.repeat(1 / matches, matches)),
    }
    if single_shot:
        drawn = [single_shot.places(keys[[q - start]], q, pids[q], camids[q]) for q in query.tolist()]
        place = np.array(drawn, dtype=np.int64).ravel()
        places["cuhk03"] = place, np.full(len(place), len(drawn) / max(1, len(place)))
    return _Scores(
        query,
        precision.sum(axis=1) / matches,
        matches / ranks.max(axis=1, initial=1),
        first,
        chance_average_precision(kept, matches),
        {name: np.bincount(place, weight, topk + 1)[:topk] for name, (place, weight) in places.items()},
    )


def chance_average_precision(kept: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Expected average precision of a random order of `kept` (N) images, `matches` (P) of them true; arrays.

    Given a match at rank r, each of the other P - 1 precedes it with probability (r - 1) / (N - 1), so its
    expected precision is (1 + (P - 1) (r - 1) / (N - 1)) / r. Averaged over r = 1 .. N that is
    (H_N + (P - 1) / (N - 1) (N - H_N)) / N with H_N = 1 + 1/2 + ... + 1/N.
    """
    harmonic = np.cumsum(1 / np.arange(1, kept.max(initial=0) + 1))[kept - 1]
    return (harmonic + (matches - 1) / np.maximum(kept - 1, 1) * (kept - harmonic)) / kept


def _ranking(parts: list[_Scores], queries: int, collapsed: bool) -> Ranking:
    """The scores over all parts, in order. Raises ReidError when no query has a match."""
    query, precision, penalty, first, chance = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:5])
    if not len(query):
        raise ReidError(
            f"none of the {queries} queries has a match in another camera, so nothing can be scored: "
            "check that query and gallery share pids, and that camids are not all the same (one camera)"
        )
    return Ranking(
        mAP=float(precision.mean()),
        mINP=float(penalty.mean()),
        cmc={name: sum(part.hits[name] for part in parts).cumsum() / len(query) for name in parts[0].hits},
        chance_mAP=float(chance.mean()),
        num_valid=len(query),
        num_skipped=queries - len(query),
        valid_queries=query,
        average_precision=precision,
        first_match_rank=first,
        collapsed=collapsed,
    )


def _ids(pids: Tensor | np.ndarray, camids: Tensor | np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Pids and camids of one side as int64 arrays (N,). Raises ReidError when they are not that, or empty."""
    pids, camids = (torch.as_tensor(ids).cpu().numpy() for ids in (pids, camids))
    integers = {pids.dtype.kind, camids.dtype.kind} <= {"i", "u"}
    if not integers or pids.ndim != 1 or pids.shape != camids.shape or not pids.size:
        raise ReidError(
            f"{side} pids {pids.dtype} {pids.shape}, camids {camids.dtype} {camids.shape}: "
            "give one integer pid and one integer camid for each image"
        )
    return pids.astype(np.int64), camids.astype(np.int64)


def _check_block(block: Tensor, queries: int, gallery: Gallery) -> None:
    if block.shape != (queries, gallery.end - gallery.first):
        raise ReidError(
            f"features and ids disagree: distances {tuple(block.shape)} for {queries} query pids "
            f"and {gallery.end - gallery.first} gallery pids; give one pid and one camid for each feature"
        )
    if not torch.isfinite(torch.stack(block.aminmax())).all():
        raise ReidError("distances are NaN or infinite: the features are too large for float32, scale them down")
