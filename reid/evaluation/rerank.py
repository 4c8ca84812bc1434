"""k-reciprocal re-ranking (Zhong et al., CVPR 2017), sparse and in blocks of images."""

from collections import deque
from functools import partial

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from reid.errors import ReidError
from reid.evaluation.distances import BY_NAME, Distances, DistanceSource, ordered_keys, squared_euclidean
from reid.evaluation.threads import in_threads
from reid.runtime import distributed

ROWS, FEW = 256, 32  # images whose distances are computed at a time; and whose keys are made, which are twice as large


def k_reciprocal(k1: int = 20, k2: int = 6, weight: float = 0.3) -> DistanceSource:
    """A distance source for `ranking.rank` that re-ranks: `rank(..., distances=k_reciprocal())`.

    The distance is (1 - weight) x Jaccard distance of the k-reciprocal neighbourhoods + weight x squared Euclidean
    distance, the latter divided by its largest value over all images for that query. `k1` neighbours make a
    neighbourhood, `k2` are averaged (1 = none). Raises ReidError for settings that have no meaning.
    """
    if not (k1 >= 1 and k2 >= 1 and 0 <= weight <= 1):
        raise ReidError(f"re-ranking with k1={k1}, k2={k2}, weight={weight}: give k1 >= 1, k2 >= 1, 0 <= weight <= 1")
    return partial(_distances, k1=k1, k2=k2, weight=weight)


def _distances(query: Tensor, gallery: Tensor, sharded: bool = False, *, k1: int, k2: int, weight: float) -> Distances:
    if sharded and distributed.size() > 1:
        raise ReidError(
            "re-ranking needs the whole gallery, and each process has a part of it; "
            f"rank without sharding, or use one of the distances {', '.join(BY_NAME)}"
        )
    images = torch.cat([query, gallery])
    neighbours, largest = nearest(images, max(k1 + 1, k2))
    codes = _codes(images, neighbours, largest, k1)
    if k2 > 1:
        codes = _selection(neighbours[:, :k2]) @ codes / min(k2, len(images))
    query_codes, gallery_codes = codes[: len(query)].tocsr(), codes[len(query) :].tocsc()
    plain = squared_euclidean(query, gallery)
    scale = weight / torch.from_numpy(largest[: len(query)]).to(query.device)[:, None]

    def rows(some: slice) -> Tensor:
        jaccard = torch.from_numpy(jaccard_distances(query_codes[some], gallery_codes)).to(query.device)
        return jaccard.mul_(1 - weight).add_(plain.whole(some).mul_(scale[some]))

    return Distances(rows, collapsed=plain.collapsed)


def nearest(images: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (N, min(count, N)) of the nearest `images` (N, D), closest first, and largest distances (N,).

    An image is its own nearest neighbour, whatever its copies and rounding say; other ties go by position.
    """
    distances = squared_euclidean(images, images)
    positions = torch.empty(len(images), min(count, len(images)), dtype=torch.int64)
    largest = torch.empty(len(images))

    def find(start: int) -> None:
        some = slice(start, start + ROWS)
        block = distances.whole(some)
        largest[some] = block.amax(dim=1)
        block.diagonal(start).fill_(-1)
        for place, few in zip(positions[some].split(FEW), block.split(FEW), strict=True):
            place[:] = ordered_keys(few).topk(positions.shape[1], dim=1, largest=False).values & 0xFFFFFFFF

    deque(in_threads(find, range(0, len(images), ROWS), images.device), maxlen=0)
    return positions.numpy(), largest.clamp(min=torch.finfo(torch.float32).tiny).numpy()


def _selection(columns: np.ndarray) -> sparse.csr_array:
    """Sparse 0/1 matrix (N, N) whose row i has ones at `columns[i]`, (N, k)."""
    number, k = columns.shape
    ones, starts = np.ones(columns.size, dtype=np.float32), np.arange(0, columns.size + 1, k)
    return sparse.csr_array((ones, columns.ravel(), starts), shape=(number, number))


def reciprocal(neighbours: np.ndarray) -> sparse.csr_array:
    """0/1 matrix (N, N): i and j are each among the `neighbours` (N, k) of the other (equation 3)."""
    forward = _selection(neighbours)
    return forward.multiply(forward.T).tocsr()


def neighbourhoods(neighbours: np.ndarray, k1: int) -> sparse.coo_array:
    """0/1 matrix (N, N) of the expanded k-reciprocal neighbourhoods (equation 5).

    The half-size neighbourhood of a member joins when more than two thirds of it are members already.
    """
    full, half = reciprocal(neighbours[:, : k1 + 1]), reciprocal(neighbours[:, : round(k1 / 2) + 1])
    shared = full.multiply(full @ half.T).tocoo()
    joins = 3 * shared.data > 2 * half.sum(axis=1)[shared.col]
    joining = sparse.csr_array((shared.data[joins], (shared.row[joins], shared.col[joins])), shape=shared.shape)
    expanded = (full + joining @ half).tocoo()
    expanded.data[:] = 1
    return expanded


def _codes(images: Tensor, neighbours: np.ndarray, largest: np.ndarray, k1: int) -> sparse.csr_array:
    """Neighbourhoods (N, N) weighted by exp(-distance / largest) (equation 7); each row sums to one."""
    codes = neighbourhoods(neighbours, k1)
    for pairs in np.array_split(np.arange(codes.nnz), codes.nnz // (64 * ROWS) + 1):
        row, column = codes.row[pairs], codes.col[pairs]
        squared = (images[row] - images[column]).square().sum(dim=1).cpu().numpy()
        codes.data[pairs] = np.exp(-squared / largest[row])
    codes.data /= codes.sum(axis=1)[codes.row]
    return codes.tocsr()


def jaccard_distances(query_codes: sparse.csr_array, gallery_codes: sparse.csc_array) -> np.ndarray:
    """1 - sum of minima / sum of maxima between rows that sum to one: (B, N) and (G, N) -> float32 (B, G)."""
    distances = np.ones((query_codes.shape[0], gallery_codes.shape[0]), dtype=np.float32)
    for row, start, end in zip(distances, query_codes.indptr[:-1], query_codes.indptr[1:], strict=True):
        shared = gallery_codes[:, query_codes.indices[start:end]]
        own = np.repeat(query_codes.data[start:end], np.diff(shared.indptr))
        minima = np.bincount(shared.indices, np.minimum(own, shared.data), minlength=len(row))
        row -= minima / (2 - minima)
    return distances
