"""The adversary with a perturbation of its own for every image: PGD on the model in training."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Generator, Tensor

from reid.attacks.base import Attack, AttackBatch
from reid.attacks.image.pgd import PGD
from reid.models.network import Trainable
from reid.training.adversaries.aim import Aim, inference
from reid.training.adversaries.base import Adversary, Setting


@dataclass(frozen=True)
class AimedPGD(PGD):
    """The steps of PGD by another objective."""

    aim: Aim = field(kw_only=True)

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        return self.aim.reached(features)


class PerImage(Adversary):
    """Another perturbation for every image: PGD on the model as it is, in eval mode (metric adversarial training).

    Without an aim it pushes each feature away from the clean one.
    """

    def __init__(self, model: Trainable, eps: float, steps: int) -> None:
        self.model, self.pgd = model, PGD(eps=eps, steps=steps)

    @classmethod
    def of(cls, setting: Setting) -> Self:
        return cls(setting.model, setting.options.max_eps, setting.options.pgd_steps)

    def perturb(
        self, images: Tensor, random: Generator, shares: Tensor | None = None, aim: Aim | None = None
    ) -> Tensor:
        budgets = self.pgd.eps * self.shares(images, random, shares)
        attack = self.pgd if aim is None else AimedPGD(self.pgd.eps, self.pgd.steps, aim=aim)
        with inference(self.model):
            with torch.no_grad():
                clean = self.model.features(images).float() if aim is None else aim.clean
            *_, (last, _) = attack.iterates(self.model.features, AttackBatch(images), clean, budgets, random)
        return last

    def attacks(self) -> list[Attack]:
        return [self.pgd]
