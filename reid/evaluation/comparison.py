"""Queries against a gallery: who is who, and the distances between them, some queries at a time."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from reid.errors import ReidError
from reid.evaluation.counting import Gallery
from reid.evaluation.distances import Distances, DistanceSource, as_features, full_precision
from reid.evaluation.threads import in_threads
from reid.runtime.progress import progress

T = TypeVar("T")
CPU_KEYS, GPU_KEYS = 2**19, 2**24  # distances that are ordered at a time; on a CPU so few that they stay in the cache


class Comparison:
    """Queries (Q, D) and a gallery (G, D), or where `sharded` this process's part of it, with pids and camids of each.

    Features may have any float type; they are compared in float32, on the device where those of the queries are.
    Raises ReidError for features of wrong shape or with NaN or infinite values, and when lengths disagree.
    """

    def __init__(
        self,
        query_features: Tensor | np.ndarray,
        gallery_features: Tensor | np.ndarray,
        query_pids: Tensor | np.ndarray,
        gallery_pids: Tensor | np.ndarray,
        query_camids: Tensor | np.ndarray,
        gallery_camids: Tensor | np.ndarray,
        sharded: bool = False,
    ) -> None:
        self._query, self._gallery = as_features(query_features, "query"), as_features(gallery_features, "gallery")
        self.pids, self.camids = _ids(query_pids, query_camids, len(self._query), "query")
        self.gallery = Gallery(*_ids(gallery_pids, gallery_camids, len(self._gallery), "gallery"), sharded)
        lengths = self._query.shape[1], self._gallery.shape[1]
        if lengths[0] != lengths[1]:
            raise ReidError(f"query features have length {lengths[0]}, gallery features {lengths[1]}; use one model")

    def in_blocks(
        self, work: Callable[[np.ndarray, Tensor], T], distances: DistanceSource, chunk: int | None, words: str
    ) -> tuple[list[T], Distances]:
        """`work(queries, rows)` of positions of queries (b,) and their `distances` (b, G), for all of them, in order.

        Distances of `chunk` queries are computed at a time (None: see `block_rows`), and worked on in smaller parts.
        Raises ReidError when one is infinite, and for a sharded gallery whose distances need all of it (re-ranking).
        """
        query, images, sharded = self._query, len(self.gallery.pids), self.gallery.sharded
        chunk = chunk or block_rows(len(query), images, query.device, sharded)
        at_a_time = max(1, (CPU_KEYS if query.device.type == "cpu" else GPU_KEYS) // images)

        def results(start: int) -> list[T]:
            queries = np.arange(start, min(start + chunk, len(query)))
            block = _checked(source.rows(slice(start, start + chunk)), len(queries), len(self._gallery))
            parts = block.split(at_a_time)
            return [work(queries[i * at_a_time :][: len(part)], part) for i, part in enumerate(parts)]

        with full_precision(query.device):
            source, starts = distances(query, self._gallery.to(query.device), sharded), range(0, len(query), chunk)
            # Processes exchange their sums in one order, so not in threads.
            blocks = map(results, starts) if sharded else in_threads(results, starts, query.device)
            return [part for block in progress(blocks, len(starts), words) for part in block], source


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
