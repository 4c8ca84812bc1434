"""Gradients from answers alone: finite differences along squares of random colours, for models that give none."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reid.runtime import distributed
from reid.runtime.device import send


class Answers(torch.autograd.Function):
    """`Answers.apply(images, victim, reach, directions, across, random)`: features of images (N, 3, H, W) in [0, 1],
    whose gradient is estimated, but for a factor.

    The victim is asked for each image, then plus and minus `reach` along each of `directions`, which every image draws
    for itself (see `squares`); with several processes, those that one would draw.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, victim: Callable[[Tensor], Tensor], *how: Any) -> Tensor:
        ctx.save_for_backward(images)
        ctx.asked = victim, *how
        return victim(images)

    @staticmethod
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (images,), (victim, reach, directions, across, random) = ctx.saved_tensors, ctx.asked
        gradient = torch.zeros_like(images)
        whole = (distributed.size() * len(images), *images.shape[1:])
        for _ in range(directions):
            step = reach * send(distributed.share(squares(whole, across, random)), images.device)
            there, back = (victim((images + way).clamp(0, 1)) for way in (step, -step))
            gradient += ((there - back) * wanted).sum(dim=1)[:, None, None, None] * step
        return gradient, None, None, None, None, None


def squares(shape: Sequence[int], across: int, random: torch.Generator) -> Tensor:
    """Signs of the shape (N, C, H, W), alike within squares that begin anywhere, `across` of them side by side."""
    *most, height, width = shape
    side = max(1, width // across)
    signs = 2.0 * torch.randint(2, (*most, height // side + 2, width // side + 2), generator=random) - 1
    top, left = torch.randint(side, (2,), generator=random).tolist()
    whole = signs.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
    return whole[..., top : top + height, left : left + width]
