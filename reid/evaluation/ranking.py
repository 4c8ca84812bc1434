"""mAP, mINP and CMC of a query set against a gallery, exact, some queries at a time; see docs/evaluation.md."""

import numpy as np
import torch
from torch import Tensor

from reid.errors import ReidError
from reid.evaluation.counting import JUNK_PID, Gallery, Ranks, SingleShot, match_ranks
from reid.evaluation.distances import DistanceSource, as_features, full_precision, ordered_keys, squared_euclidean
from reid.evaluation.scores import Ranking, scored
from reid.evaluation.threads import in_threads
from reid.runtime.progress import progress

__all__ = ["JUNK_PID", "Ranking", "block_rows", "rank"]
CPU_KEYS, GPU_KEYS = 2**19, 2**24  # distances that are ordered at a time; on a CPU so few that they stay in the cache


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
    query, gallery = as_features(query_features, "query"), as_features(gallery_features, "gallery")
    pids, camids = _ids(query_pids, query_camids, len(query), "query")
    places = Gallery(*_ids(gallery_pids, gallery_camids, len(gallery), "gallery"), sharded)
    if query.shape[1] != gallery.shape[1]:
        words = f"query features have length {query.shape[1]}, gallery features {gallery.shape[1]}"
        raise ReidError(f"{words}; use one model")
    shots = SingleShot(places, cuhk03_repeats, cuhk03_seed)
    chunk = chunk or block_rows(len(pids), len(places.pids), query.device, sharded)
    at_a_time = max(1, (CPU_KEYS if query.device.type == "cpu" else GPU_KEYS) // len(places.pids))

    def ranks_of(start: int) -> list[Ranks]:
        ranks = []
        block = _checked(source.rows(slice(start, start + chunk)), len(pids[start : start + chunk]), len(gallery))
        for part in block.split(at_a_time):
            asking = np.arange(start, start + len(part))
            keys = ordered_keys(part, places.first)
            ranks.append(match_ranks(keys, asking, pids[asking], camids[asking], places, shots))
            start += len(part)
        return ranks

    with full_precision(query.device):
        source, starts = distances(query, gallery.to(query.device), sharded), range(0, len(pids), chunk)
        # Processes exchange their sums in one order, so not in threads.
        blocks = map(ranks_of, starts) if sharded else in_threads(ranks_of, starts, query.device)
        parts = [ranks for block in progress(blocks, len(starts), "ranking") for ranks in block]
        return scored(parts, topk, source.collapsed)


def block_rows(queries: int, images: int, device: torch.device, sharded: bool = False) -> int:
    """Queries whose distances to a gallery of so many images are computed at a time, at least 16 where there are.

    On a CPU each thread has some blocks, so that none waits long for the last: up to 256 queries, and 512 MB for all
    threads. On a GPU up to 1024 queries and 512 MB.
    """
    if device.type != "cpu":
        return min(queries, max(16, min(1024, 2**27 // images)))
    threads = 1 if sharded else torch.get_num_threads()
    most = max(16, min(256, 2**27 // (threads * images), queries // (4 * threads)))
    return -(-queries // -(-queries // most))  # all of about the same size


def _ids(
    pids: Tensor | np.ndarray, camids: Tensor | np.ndarray, features: int, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """Pids and camids of one side as int64 arrays (N,), one for each feature."""
    pids, camids = (torch.as_tensor(ids).cpu().numpy() for ids in (pids, camids))
    integers = {pids.dtype.kind, camids.dtype.kind} <= {"i", "u"}
    if not integers or pids.shape != (features,) or camids.shape != (features,):
        raise ReidError(
            f"{side} pids {pids.dtype} {pids.shape}, camids {camids.dtype} {camids.shape} for {features} features: "
            "give one integer pid and one integer camid for each image"
        )
    return pids.astype(np.int64), camids.astype(np.int64)


def _checked(block: Tensor, queries: int, images: int) -> Tensor:
    if block.shape != (queries, images):
        shape = " x ".join(map(str, block.shape))
        raise ReidError(f"distances {shape} for {queries} queries and {images} gallery images")
    if not torch.isfinite(torch.stack(block.aminmax())).all():
        raise ReidError("distances are NaN or infinite: the features are too large for float32, scale them down")
    return block
