"""Distances between query and gallery features, a block of queries at a time.

A distance source is `source(query, gallery, chunk)`: it yields float32 blocks (<= chunk, num_gallery) that
together cover the queries in order. `squared_euclidean` and `cosine` are here, k-reciprocal re-ranking is in
`rerank.py`; `ranking.rank` takes any.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.errors import ReidError

DistanceSource = Callable[[Tensor, Tensor, int], Iterator[Tensor]]
TILE = 512  # gallery images at a time: a product is fastest where it has more rows than columns


def as_features(features: Tensor | np.ndarray, side: str) -> Tensor:
    """`features` (N, D) as a detached float32 tensor, on the device where it is. `side` names it in errors.

    Raises ReidError for another shape, an empty set, or values that are NaN or infinite.
    """
    tensor = torch.as_tensor(features).detach().float()
    if tensor.ndim != 2 or 0 in tensor.shape:
        raise ReidError(f"{side} features have shape {tuple(tensor.shape)}; give at least one row of (N, D)")
    if not torch.isfinite(torch.stack(tensor.aminmax())).all():
        broken = int((~torch.isfinite(tensor)).any(dim=1).sum())
        raise ReidError(
            f"{broken} of {len(tensor)} {side} features hold NaN or infinite values; "
            "the model or the perturbation diverged, or half precision overflowed"
        )
    return tensor


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products in true float32: no TF32, no bfloat16, no autocast, whatever the caller switched on."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def squared_euclidean(query: Tensor, gallery: Tensor, chunk: int) -> Iterator[Tensor]:
    """Yield blocks (<= chunk, G) of |q|^2 + |g|^2 - 2 q.g, at least 0, of float32 rows (Q, D) and (G, D).

    The next block overwrites a block.
    """
    query_norms, gallery_norms = squared_norms(query), squared_norms(gallery)
    whole = query.new_empty(min(chunk, len(query)), len(gallery))
    for rows, norms in zip(query.split(chunk), query_norms.split(chunk), strict=True):
        block = whole[: len(rows)]
        tiles = zip(gallery.split(TILE), gallery_norms.split(TILE), block.split(TILE, dim=1), strict=True)
        with full_precision(query.device):
            for tile, tile_norms, columns in tiles:
                distances = torch.sub(tile_norms, rows @ tile.T, alpha=2).add_(norms[:, None])
                torch.clamp(distances, min=0, out=columns)
        yield block


def squared_norms(features: Tensor) -> Tensor:
    """|f|^2 (N,) of features (N, D)."""
    few = 64 if features.device.type == "cpu" else 2**14  # on a CPU, so many that their squares stay in the cache
    norms = features.new_empty(len(features))
    for rows, part in zip(features.split(few), norms.split(few), strict=True):
        torch.sum(rows * rows, dim=1, out=part)
    return norms


def cosine(query: Tensor, gallery: Tensor, chunk: int) -> Iterator[Tensor]:
    """Squared Euclidean distance of features scaled to unit length, which is 2 - 2 cos(q, g)."""
    return squared_euclidean(F.normalize(query), F.normalize(gallery), chunk)


BY_NAME: dict[str, DistanceSource] = {"euclidean": squared_euclidean, "cosine": cosine}


def ordered_keys(distances: Tensor) -> Tensor:
    """Distinct int64 keys (B, G) that order each row of `distances` (B, G) by distance, then by position.

    A float32 read as an integer keeps its order among positive numbers and reverses it among negative ones;
    that fills the upper 32 bits, the position fills the lower ones. Every comparison of keys thereby breaks
    ties in the same, stable way.
    """
    bits = (distances.float() + 0.0).view(torch.int32)  # + 0.0 makes -0.0 and 0.0 equal
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (bits.long() << 32) + torch.arange(distances.shape[1], device=distances.device)
