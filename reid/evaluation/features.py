"""Features of a list of images, clean or perturbed, and the budget that was really spent on them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from reid.attacks import Attack, Threat
from reid.errors import ReidError
from reid.loading import ImageStore, to_images
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.progress import progress

TOLERANCE = 1e-6
HALF_LEVEL = 0.5 / 255


def largest(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """The larger of two measurements of the spent budget, name by name; NaN stays NaN."""
    return {name: float(np.maximum(first.get(name, 0.0), second.get(name, 0.0))) for name in first | second}


def beyond(spent: dict[str, float], threat: Threat) -> list[str]:
    """The components that went beyond `threat`, in words; rounding to 8 bits may add half a grey level."""
    bounds = {
        "color": threat.eps_color,
        "delta": threat.eps_delta,
        "total": threat.eps_total,
        "total_8bit": threat.eps_total + HALF_LEVEL,
    }
    return [
        f"{name} spent {spent[name] * 255:.3f}/255 of {bound * 255:.3f}/255"
        for name, bound in bounds.items()
        if not spent[name] <= bound + TOLERANCE
    ]


def batches_here(count: int, batch_size: int) -> list[range]:
    """This process's share of the batches of `count` images: whole ones, so that they are those of one process."""
    return distributed.share([range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)])


def extract(
    victim: Callable[[Tensor], Tensor],
    store: ImageStore,
    compute: Compute,
    batch_size: int = 64,
    attack: Attack | None = None,
    whole: bool = True,
) -> tuple[Tensor, dict[str, float]]:
    """Features (N, D), float32 on the CPU, of all images of `store`, each under `attack` if given.

    Returns the features and what the attack spent on exactly these images (empty without one). Of several processes
    each computes its share of the batches, and gets the features of all, or where not `whole` only those of its share.
    Raises ReidError when more was spent than the attack's threat allows.
    """
    spent: dict[str, float] = {}
    own = batches_here(len(store), batch_size)
    rows, done = torch.empty(0, 0), 0
    with torch.no_grad():
        for _, pixels in progress(store.batches(own), len(own), "features"):
            images = to_images(pixels, compute.device)
            if attack is not None:
                images, on_batch = attack.attack(images)
                spent = largest(spent, on_batch)
            with compute.autocast():
                features = victim(images)
            if not done:  # all at once: a list of batches would need its memory twice when it is joined
                rows = torch.empty(sum(map(len, own)), features.shape[1])
            rows[done : done + len(features)] = features
            done += len(features)
    for elsewhere in distributed.every(spent):
        spent = largest(spent, elsewhere)
    if attack is not None and (excess := beyond(spent, attack.threat)):
        raise ReidError(f"the attack left its budget: {'; '.join(excess)}; no score was computed")
    return distributed.gather_blocks([rows] if done else [], rows.device) if whole else rows, spent
