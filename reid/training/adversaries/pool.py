"""Adversaries that never change: perturbation files."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Generator, Tensor

from reid import attacks
from reid.attacks import Attack, Perturbation, format_budget
from reid.errors import UsageError
from reid.training.adversaries.base import Adversary, Part, Setting, at_random_budgets


class Pool(Adversary):
    """Perturbations that stay as they are: for each batch one of them. With a single one, the frozen adversary."""

    def __init__(self, perturbations: Sequence[Perturbation]) -> None:
        self.perturbations = list(perturbations)

    @classmethod
    def of(cls, setting: Setting) -> Self:
        return cls(setting.perturbations)

    @torch.no_grad()
    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        noise = self.perturbations[int(torch.randint(len(self.perturbations), (), generator=random))]
        return at_random_budgets(images, noise, random, part)

    def attacks(self) -> list[Attack]:
        return list(self.perturbations)


def read_perturbations(paths: Sequence[str], eps: float, noise_type: int | None) -> list[Perturbation]:
    """The perturbations in files, on the CPU. Raises UsageError for one of another type than `noise_type` (None: any),
    or with a budget of more than `eps` per component."""
    perturbations = []
    for path in paths:
        noise = attacks.load(path)
        threat = noise.threat
        if noise_type not in (None, noise.noise_type):
            raise UsageError(
                f"{path} is of noise type {noise.noise_type}, not {noise_type}; give --noise_type {noise.noise_type}, "
                "or another file"
            )
        if max(threat.eps_color, threat.eps_delta) > eps + 1e-9:
            raise UsageError(
                f"{path} is another threat: {threat.label}, which is more than --max-eps {format_budget(eps)}; "
                "raise --max-eps, or learn a perturbation within it"
            )
        perturbations.append(noise)
    return perturbations
