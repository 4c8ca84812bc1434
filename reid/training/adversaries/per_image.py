"""The adversary with a perturbation of its own for every image: PGD on the model in training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Generator, Tensor, nn

from reid.attacks.base import Attack, AttackBatch
from reid.attacks.image.pgd import PGD
from reid.models.network import Trainable
from reid.training.adversaries.base import Adversary, Setting, random_shares


class PerImage(Adversary):
    """Another perturbation for every image: PGD on the model as it is, in eval mode (metric adversarial training)."""

    def __init__(self, model: Trainable, eps: float, steps: int) -> None:
        self.model, self.pgd = model, PGD(eps=eps, steps=steps)

    @classmethod
    def of(cls, setting: Setting) -> Self:
        return cls(setting.model, setting.options.max_eps, setting.options.pgd_steps)

    def perturb(self, images: Tensor, random: Generator, shares: Tensor | None = None) -> Tensor:
        budgets = self.pgd.eps * (random_shares(images, random) if shares is None else shares)
        with _inference(self.model):
            with torch.no_grad():
                clean = self.model.features(images).float()
            *_, (last, _) = self.pgd.iterates(self.model.features, AttackBatch(images), clean, budgets, random)
        return last

    def attacks(self) -> list[Attack]:
        return [self.pgd]


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Eval mode, and no gradient of the weights, which would be a third of a backward pass. It has to last until that
    pass is done, which may compute activations again."""
    training, learnt = model.training, [parameter for parameter in model.parameters() if parameter.requires_grad]

    def switch(training: bool, learning: bool) -> None:
        model.train(training)
        for parameter in learnt:
            parameter.requires_grad_(learning)

    switch(False, False)
    try:
        yield
    finally:
        switch(training, True)
