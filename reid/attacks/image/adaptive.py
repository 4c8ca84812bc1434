"""The L-inf loop with a step for each image that halves when it no longer helps (APGD; Croce and Hein, ICML 2020)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from reid.attacks.base import AttackBatch
from reid.attacks.image.linf import Features, LInf

MOMENTUM = 0.75  # share of the new step; the rest goes on with the last one
ENOUGH = 0.75  # share of the steps since the last look that must have raised the objective
FIRST, SHRINK, LEAST = 0.22, 0.03, 0.06  # of all steps: the first look, how much sooner each next is, and at least


@dataclass(frozen=True)
class Adaptive(LInf):
    """Steps begin at 2 eps. At each look an image whose objective rose too seldom, or whose best has stood still since
    the last look, halves its step and goes on from its best iterate."""

    steps: int = 50

    def iterates(
        self, victim: Features, batch: AttackBatch, clean: Tensor, eps: float | Tensor, random: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """As in LInf; every iterate has its objective."""
        lower, upper = (batch.images - eps).clamp(min=0), (batch.images + eps).clamp(max=1)
        images = last = self.start(batch.images, lower, upper, random)
        value, gradient = self.ascent(victim, batch, clean, images)
        yield images, value
        best, highest, at_best = images, value, gradient
        size = 2 * torch.as_tensor(eps, device=images.device).expand(len(images), 1, 1, 1)
        rises, mark = torch.zeros_like(value), highest
        halved = torch.ones_like(value, dtype=torch.bool)
        looks, since = self.looks(), 0
        for number in range(1, self.steps + 1):
            share = 1.0 if number == 1 else MOMENTUM
            target = self.project(images + size * gradient.sign(), lower, upper)
            moved = images + share * (target - images) + (1 - share) * (images - last)
            last, images, before = images, self.project(moved, lower, upper), value
            value, gradient = self.ascent(victim, batch, clean, images)
            yield images, value
            rises, since = rises + (value > before), since + 1
            better = value > highest
            best, at_best = _where(better, images, best), _where(better, gradient, at_best)
            highest = torch.where(better, value, highest)
            if number in looks:
                halved = (rises < ENOUGH * since) | (~halved & (highest <= mark))
                size = _where(halved, size / 2, size)
                images, last = _where(halved, best, images), _where(halved, best, last)
                gradient, value = _where(halved, at_best, gradient), torch.where(halved, highest, value)
                rises, mark, since = torch.zeros_like(rises), highest, 0

    def looks(self) -> set[int]:
        """After which steps the progress is looked at."""
        places, gap = [FIRST], FIRST
        while places[-1] < 1:
            gap = max(gap - SHRINK, LEAST)
            places.append(places[-1] + gap)
        return {ceil(place * self.steps) for place in places}


def _where(chosen: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """For each image (N) what is `first` (N, ...) where chosen, else `second`."""
    return torch.where(chosen[:, None, None, None], first, second)
