"""What a model does with three drawn images: proof that it gives features, and a fingerprint of its behaviour."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from reid.errors import UsageError
from reid.models.victim import Victim

SAME = 1e-4  # relative difference up to which features count as equal
COUNT = 3


def drawn_images(height: int, width: int) -> Tensor:
    """Smooth coloured images (3, 3, height, width), RGB in [0, 1], the same on every machine."""
    y = torch.linspace(0, 1, height, dtype=torch.float64)[:, None]
    x = torch.linspace(0, 1, width, dtype=torch.float64)[None]
    image, channel = torch.meshgrid(torch.arange(COUNT), torch.arange(3), indexing="ij")
    waves = [
        5 * (i + 1) * x + (7 - 2 * i) * (c + 1) * y + i - c for i, c in zip(image.ravel(), channel.ravel(), strict=True)
    ]
    return ((1 + torch.sin(torch.stack(waves))) / 2).view(COUNT, 3, height, width).float()


def fingerprint(victim: Victim) -> str:
    """Twelve hexadecimal digits that tell how a model behaves: its features of drawn images, at unit length, to three
    digits. Weights, preprocessing and choice of the output all change it."""
    features = _features(victim, _images(victim)).double()
    unit = features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)
    rounded = np.round(unit.cpu().numpy(), 3) + 0.0  # no negative zeros
    return hashlib.sha256(rounded.astype("<f4").tobytes()).hexdigest()[:12]


def findings(victim: Victim) -> list[str]:
    """What is wrong with a model, one sentence each; an empty list for one that behaves.

    Raises UsageError where its features of ordinary images are not finite.
    """
    images = _images(victim)
    together = _features(victim, images)
    if not together.isfinite().all():
        raise UsageError(
            f"{victim.name or victim.arch} gives features that are not finite; check the file and its input"
        )
    lines = []
    if _differ(_features(victim, images), together):
        lines.append("gives other features each time; an attack on it needs averages, and scores vary")
    singles = torch.cat([_features(victim, images[i : i + 1]) for i in range(COUNT)])
    if _differ(singles, together):
        lines.append("gives images in a batch other features than one by one; use --batch_size 1")
    if not _differ(together[1:], together[:1].expand(COUNT - 1, -1)):
        lines.append("gives different images equal features; check the order and range of its input")
    if not victim.differentiable:
        lines.append("gives no gradients: scores only")
    return lines


def _images(victim: Victim) -> Tensor:
    return drawn_images(*victim.input.size).to(victim.layer.mean.device)


def _features(victim: Victim, images: Tensor) -> Tensor:
    with torch.no_grad():
        return victim(images)


def _differ(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).abs().max() > SAME * second.abs().max())
