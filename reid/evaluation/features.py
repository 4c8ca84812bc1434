"""Features of a list of images, clean or attacked, and what the attack spent on them."""

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
    """Features (N, D), float32 on the CPU, and of an attack the largest budget spent and the passes that it took."""

    features: Tensor
    spent: dict[str, float]
    passes: Passes


def largest(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """The larger of two measurements of the spent budget, name by name; NaN stays NaN."""
    return {name: float(np.maximum(first.get(name, 0.0), second.get(name, 0.0))) for name in first | second}


def batches_here(count: int, batch_size: int) -> list[range]:
    """This process's part of the batches of `count` images: whole ones, so that they are those of one process."""
    return distributed.share([range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)])


def extract(
    victim: Victim,
    store: ImageStore,
    compute: Compute,
    batch_size: int = 64,
    attack: Attack | None = None,
    whole: bool = True,
    reference: Reference | None = None,
) -> Extracted:
    """Features of all images of `store`, each under `attack` if there is one, which may look at `reference`.

    Under torchrun each process computes its part of the batches, and gets the features of all, or where not `whole`
    only its own. Raises UsageError and ReidError as `perform` does.
    """
    spent: dict[str, float] = {}
    passes = Passes()
    own = batches_here(len(store), batch_size)
    rows, done = torch.empty(0, 0), 0
    with torch.no_grad():
        for places, pixels in progress(store.batches(own), len(own), "features"):
            images = to_images(pixels, compute.device)
            if attack is not None:
                batch = attack_batch(images, [store.samples[i] for i in places], places, reference)
                images, on_batch, steps = perform(attack, victim, batch)
                spent, passes = largest(spent, on_batch), passes + steps
            with compute.autocast():
                features = victim(images)
            if not done:  # all at once: a list of batches would need its memory twice when it is joined
                rows = torch.empty(sum(map(len, own)), features.shape[1])
            rows[done : done + len(features)] = features
            done += len(features)
    everywhere = distributed.every((spent, passes))
    for elsewhere, _ in everywhere:
        spent = largest(spent, elsewhere)
    passes = sum((part for _, part in everywhere), Passes())
    features = distributed.gather_blocks([rows] if done else [], rows.device) if whole else rows
    return Extracted(features, spent, passes)


def attack_batch(
    images: Tensor, samples: list[Sample], places: "range | list[int]", reference: Reference | None
) -> AttackBatch:
    """Images (N, 3, H, W) as an attack gets them, with what their samples say."""
    pids, camids = (torch.tensor([getattr(sample, name) for sample in samples]) for name in ("pid", "camid"))
    return AttackBatch(images, pids, camids, torch.tensor(list(places)), reference)
