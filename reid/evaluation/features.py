"""Features of a list of images, clean or perturbed, and the budget that was really spent on them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from reid.attacks import Attack, Threat
from reid.errors import ReidError
from reid.loading import ImageStore, to_images
from reid.training.device import Compute

TOLERANCE = 1e-6
HALF_LEVEL = 0.5 / 255


def largest(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """The larger of two measurements of the spent budget, name by name; NaN stays NaN."""
    return {name: float(np.maximum(value, first.get(name, 0.0))) for name, value in second.items()}


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


def extract(
    victim: Callable[[Tensor], Tensor],
    store: ImageStore,
    compute: Compute,
    batch_size: int = 64,
    attack: Attack | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Features (N, D), float32 on the CPU, of all images of `store`, each under `attack` if given.

    Returns the features and what the attack spent on exactly these images (empty without one).
    Raises ReidError when more was spent than the attack's threat allows.
    """
    spent: dict[str, float] = {}
    rows = []
    batches = tqdm(
        store.in_order(batch_size),
        total=-(-len(store) // batch_size),
        desc="features",
        leave=False,
        disable=None,
    )
    with torch.no_grad():
        for _, pixels in batches:
            images = to_images(pixels, compute.device)
            if attack is not None:
                images, on_batch = attack.attack(images)
                spent = largest(spent, on_batch)
            with compute.autocast():
                features = victim(images)
            rows.append(features.float().cpu())
    if attack is not None and (excess := beyond(spent, attack.threat)):
        raise ReidError(f"the attack left its budget: {'; '.join(excess)}; no score was computed")
    return torch.cat(rows), spent
