"""QueryUAP (PRCV 2022; HWliiu/QueryUAPReidAttack @ aff2954): one perturbation for all, by a model's answers alone.

Published, delta 10/255 on queries of Market-1501: mAP of five models down to 15, 7, 3, 16 and 25 with about a million
calls. There the cosine with the clean feature is minimised by finite differences at single pixels of the person; here
the distance to the nearest other identity, by differences along squares of random colours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from reid.attacks.universal.nearest import NearestIdentity
from reid.attacks.universal.optimiser import MISGD
from reid.attacks.universal.recipes import Groups
from reid.models.victim import Victim
from reid.runtime.device import send
from reid.runtime.distributed import rank
from reid.runtime.seeds import generator

PATIENT = partial(MISGD, momentum=0.97)


@dataclass(frozen=True)
class QueryUAP(NearestIdentity):
    """A step asks the model once for each image, and again for the image plus and minus `reach` along each of
    `directions`: squares of random colours, `squares` of them across. Momentum adds up what all images say."""

    optimizer: Callable[[Groups], Any] = PATIENT
    directions: int = 4
    reach: float = 4 / 255
    squares: int = 8
    needs_gradients: ClassVar[bool] = False

    def seen(self, victim: Victim, epoch: int) -> Callable[[Tensor], Tensor]:
        return partial(Answers.apply, victim, self, generator(epoch, rank()))


class Answers(torch.autograd.Function):
    """Features of images (N, 3, H, W), whose gradient is estimated from more features."""

    @staticmethod
    def forward(ctx: Any, victim: Victim, how: QueryUAP, random: torch.Generator, images: Tensor) -> Tensor:
        ctx.asked = victim, how, random
        ctx.save_for_backward(images)
        return victim(images)

    @staticmethod
    def backward(ctx: Any, wanted: Tensor) -> tuple[None, None, None, Tensor]:  # type: ignore[override]
        (images,), (victim, how, random) = ctx.saved_tensors, ctx.asked
        gradient = torch.zeros_like(images)
        for _ in range(how.directions):
            step = how.reach * send(squares(images.shape, how.squares, random), images.device)
            there, back = (victim((images + way).clamp(0, 1)) for way in (step, -step))
            gradient += ((there - back).float() * wanted).sum(dim=1)[:, None, None, None] * step
        return None, None, None, gradient


def squares(shape: Sequence[int], across: int, random: torch.Generator) -> Tensor:
    """Signs of the shape (N, C, H, W), alike within squares that begin anywhere, `across` of them side by side."""
    *most, height, width = shape
    side = max(1, width // across)
    signs = 2.0 * torch.randint(2, (*most, height // side + 2, width // side + 2), generator=random) - 1
    top, left = torch.randint(side, (2,), generator=random).tolist()
    whole = signs.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
    return whole[..., top : top + height, left : left + width]


QUERY_UAP = QueryUAP()
