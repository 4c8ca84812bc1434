"""Features of a list of images, clean or attacked, and what the attack spent on them."""

from collections.abc import Container, Mapping, Sequence
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid.attacks.base import Attack, AttackBatch, Reference, perform
from reid.datasets import Sample
from reid.loading import ImageStore, to_images
from reid.models.victim import Passes, Victim
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.progress import progress


class Extracted(NamedTuple):
    """Features (N, D), float32 on the CPU, and of an attack the largest budget spent, the passes that it took, and the
    images (3, H, W) in [0, 1] that it made of those that were to be kept, by their places."""

    features: Tensor
    spent: dict[str, float]
    passes: Passes
    kept: Mapping[int, Tensor] = MappingProxyType({})


def largest(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """The larger of two measurements of the spent budget, name by name; NaN stays NaN."""
    return {name: float(np.maximum(first.get(name, 0.0), second.get(name, 0.0))) for name in first | second}


def ids_of(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """pids and camids (N,), int64."""
    return torch.tensor([s.pid for s in samples]), torch.tensor([s.camid for s in samples])


def batches_here(count: int, batch_size: int) -> list[range]:
    """This process's part of the batches of `count` images, the same batches as on one process."""
    return distributed.share([range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)])


def extract(
    victim: Victim,
    store: ImageStore,
    compute: Compute,
    batch_size: int = 64,
    attack: Attack | None = None,
    whole: bool = True,
    keep: Container[int] = (),
    side: str = "query",
    **known: Reference,
) -> Extracted:
    """Features of all images of `store`, which are of a `side`, each under `attack` if there is one, which may look at
    what is `known` (`reference` and `training` of AttackBatch).

    Under torchrun each process computes its part of the batches, and gets the features of all, or where not `whole`
    only its own; all get the attacked images of the places to `keep`. Raises what `perform` does.
    """
    spent: dict[str, float] = {}
    kept: dict[int, Tensor] = {}
    passes, rows, done = Passes(), torch.empty(0, 0), 0
    own = batches_here(len(store), batch_size)
    with torch.no_grad():
        for places, pixels in progress(store.batches(own), len(own), "batch"):
            images = to_images(pixels, compute.device)
            if attack is not None:
                samples = [store.samples[i] for i in places]
                pids, camids = ids_of(samples)
                batch = AttackBatch(images, pids, camids, torch.tensor(list(places)), side=side, **known)
                images, on_batch, more = perform(attack, victim, batch)
                spent, passes = largest(spent, on_batch), passes + more
                kept |= {place: image.cpu() for place, image in zip(places, images, strict=True) if place in keep}
            with compute.autocast():
                features = victim(images)
            if not done:  # all at once: a list of batches would need its memory twice when it is joined
                rows = torch.empty(sum(map(len, own)), features.shape[1])
            rows[done : done + len(features)] = features
            done += len(features)
    parts = distributed.every((spent, passes, kept))
    spent = reduce(largest, (part for part, _, _ in parts))
    passes = sum((part for _, part, _ in parts), Passes())
    kept = reduce(or_, (part for _, _, part in parts))
    features = distributed.gather_blocks([rows] if done else [], rows.device) if whole and len(store) else rows
    return Extracted(features, spent, passes, kept)
