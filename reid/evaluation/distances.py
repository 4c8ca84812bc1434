"""Distances between query and gallery features, some queries at a time.

A distance source is `source(query, gallery, sharded)`, which gives `Distances`. `squared_euclidean` and `cosine` are
here, k-reciprocal re-ranking is in `rerank.py`; `ranking.rank` takes any.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.errors import ReidError
from reid.evaluation import DISTANCES
from reid.runtime import distributed

logger = logging.getLogger(__name__)

BEYOND = 5.0  # the largest distance of two directions is 4
COLLAPSED = 1e-4  # mean squared distance from an image in the middle, as a share of the squared length of that image


@dataclass(frozen=True)
class Distances:
    """Distances of queries from a gallery, computed when asked for.

    `rows(slice)` gives those of some queries, float32 (b, G), less a constant for each query, which keeps their order.
    `constants` (Q,) are what is missing, where a source knows it. `collapsed`: the features of one side hardly differ.
    """

    rows: Callable[[slice], Tensor]
    constants: Tensor | None = None
    collapsed: bool = False

    def whole(self, some: slice) -> Tensor:
        """The distances themselves of some queries, at least 0, from a source that knows its constants."""
        assert self.constants is not None
        return self.rows(some).add_(self.constants[some, None]).clamp_(min=0)


DistanceSource = Callable[[Tensor, Tensor, bool], Distances]


def as_features(features: Tensor | np.ndarray, side: str) -> Tensor:
    """`features` (N, D) as a detached float32 tensor where it is. Raises ReidError for other shapes and values."""
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


def squared_euclidean(query: Tensor, gallery: Tensor, sharded: bool = False) -> Distances:
    """Squared Euclidean distances of float32 rows (Q, D) from (G, D), each query's less its squared distance from c.

    With a = q - c and b = g - c, rows give |b|^2 - 2 a.b; adding the constant |a|^2 gives |q - g|^2. The point c is an
    image in the middle of the gallery: where images are close together, products of the features themselves, or |a|^2,
    would drown their differences in rounding. Subtracting an image from ones close to it does not round.
    """
    centre = middle(gallery, sharded)
    squares = squared_norms(gallery, centre)
    own = middle(query)
    collapsed = _collapsed(squares, centre, sharded) or _collapsed(squared_norms(query, own), own)
    query = query - centre
    tile = 256 if gallery.device.type == "cpu" else 8192  # on a CPU, so many that they stay in the cache

    def rows(some: slice) -> Tensor:
        block = query.new_empty(len(query[some]), len(gallery))
        for images, norms, columns in zip(gallery.split(tile), squares.split(tile), block.split(tile, 1), strict=True):
            torch.sub(norms, query[some] @ (images - centre).T, alpha=2, out=columns)
        return block

    return Distances(rows, squared_norms(query), collapsed)


def cosine(query: Tensor, gallery: Tensor, sharded: bool = False) -> Distances:
    """Squared Euclidean distances of features scaled to unit length, which are 2 - 2 cos(q, g).

    A zero vector, which trackers write for what they cannot see, has no direction: it is at the distance `BEYOND` from
    everything, after all others, and those of each side are counted in a line.
    """
    empty = [~features.any(dim=1) for features in (query, gallery)]
    counts = [sum(distributed.every(int(empty[1].sum()))) if sharded else int(empty[1].sum()), int(empty[0].sum())]
    plain = squared_euclidean(_unit(query), _unit(gallery), sharded)
    if not any(counts):
        return plain
    words = "%d features of the gallery and %d of the queries are zero vectors: ranked last, at distance %g from all"
    logger.warning(words, *counts, BEYOND)
    own, constants = empty[0], plain.constants
    assert constants is not None

    def rows(some: slice) -> Tensor:
        return torch.where(own[some, None] | empty[1], BEYOND - constants[some, None], plain.rows(some))

    return Distances(rows, constants, plain.collapsed)


def _unit(features: Tensor) -> Tensor:
    """Scaled to unit length, those too that are so long or short that their squares are infinite or zero."""
    return F.normalize(features / features.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo().tiny))


BY_NAME: dict[str, DistanceSource] = dict(zip(DISTANCES, (squared_euclidean, cosine), strict=True))


def middle(features: Tensor, sharded: bool = False) -> Tensor:
    """Of some 64 rows of (N, D), at equal steps and where `sharded` from all processes, the nearest to their mean."""
    lengths = distributed.every(len(features)) if sharded else [len(features)]
    first = sum(lengths[: distributed.rank()]) if sharded else 0
    step = -(-sum(lengths) // 64)
    some = features[-first % step :: step]
    if sharded:
        some = distributed.gather_blocks([some], some.device)
    return some[squared_norms(some, some.mean(dim=0)).argmin()]


def squared_norms(features: Tensor, centre: Tensor | float = 0.0) -> Tensor:
    """|f - centre|^2 (N,) of features (N, D)."""
    few = 64 if features.device.type == "cpu" else 2**14  # on a CPU, so many that their squares stay in the cache
    norms = features.new_empty(len(features))
    for rows, part in zip(features.split(few), norms.split(few), strict=True):
        torch.sum((rows - centre).square_(), dim=1, out=part)
    return norms


def _collapsed(squares: Tensor, centre: Tensor, sharded: bool = False) -> bool:
    """Whether images, at least two, are so close to `centre` on average that they hardly differ."""
    total = torch.stack([squares.sum(), squares.new_tensor(len(squares))])
    spread, number = (distributed.all_sum(total) if sharded else total).tolist()
    limit = COLLAPSED * number * float(centre.square().sum())
    return number > 1 and spread <= min(limit, torch.finfo(torch.float32).max)


def ordered_keys(distances: Tensor, first: int = 0) -> Tensor:
    """Distinct int64 keys (B, G) that order each row of `distances` (B, G) by distance, then by position.

    A float32 read as an integer keeps its order among positive numbers and reverses it among negative ones; that fills
    the upper 32 bits, and the position, counted from `first`, the lower ones: all ties are broken in one, stable way.
    """
    bits = (distances.float() + 0.0).view(torch.int32)  # + 0.0 makes -0.0 and 0.0 equal
    bits ^= (bits >> 31) & 0x7FFFFFFF
    positions = torch.arange(first, first + distances.shape[1], device=distances.device)
    return bits.long().bitwise_left_shift_(32).add_(positions)
