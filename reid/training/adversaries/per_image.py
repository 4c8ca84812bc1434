"""The adversary with a perturbation of its own for every image: PGD on the model in training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Generator, Tensor, nn

from reid.attacks.base import Attack, AttackBatch
from reid.attacks.image.pgd import PGD
from reid.models.network import ReidModel
from reid.training.adversaries.base import Adversary, Part, Setting, shares


class PerImage(Adversary):
    """Another perturbation for every image: PGD on the model as it is, in eval mode (metric adversarial training)."""

    def __init__(self, model: ReidModel, eps: float, steps: int) -> None:
        self.model, self.pgd = model, PGD(eps=eps, steps=steps)

    @classmethod
    def of(cls, setting: Setting) -> Self:
        return cls(setting.model, setting.options.max_eps, setting.options.pgd_steps)

    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        budgets = self.pgd.eps * shares(images, random, part)
        with inference(self.model):
            with torch.no_grad():
                clean = self.model.features(images).float()
            iterates = self.pgd.iterates(self.model.features, AttackBatch(images), clean, budgets, random)
            *_, (last, _) = iterates
        return last

    def attacks(self) -> list[Attack]:
        return [self.pgd]


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in eval mode and its weights take no gradient, which would be a third of a backward pass.

    It lasts until the backward pass is done: where activations are computed again, it still counts.
    """
    training = model.training
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        model.train(training)
        for parameter in learnt:
            parameter.requires_grad_()
