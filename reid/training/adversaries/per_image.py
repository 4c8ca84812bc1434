"""The adversary with a perturbation of its own for every image: PGD on the model in training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from torch import Generator, Tensor, nn

from reid.attacks import Attack
from reid.attacks.image_pgd import FeaturePGD, push_away
from reid.models.network import ReidModel
from reid.training.adversaries.base import Adversary, Part, Setting, shares


class PerImage(Adversary):
    """Another perturbation for every image: PGD on the model as it is, in eval mode (metric adversarial training)."""

    def __init__(self, model: ReidModel, eps: float, steps: int) -> None:
        self.model, self.eps, self.steps = model, eps, steps

    @classmethod
    def of(cls, setting: Setting) -> Self:
        return cls(setting.model, setting.options.max_eps, setting.options.pgd_steps)

    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        budgets = self.eps * shares(images, random, part)
        with inference(self.model):
            return push_away(self.model.features, images, budgets, self.steps, random)

    def attacks(self) -> list[Attack]:
        return [ModelPGD(self.model, self.eps, self.steps)]


class ModelPGD(FeaturePGD):
    """PGD on a model as it is when the attack runs, though its training goes on."""

    def __init__(self, model: ReidModel, eps: float, steps: int) -> None:
        super().__init__(model.features, eps, steps)
        self.model = model

    def attack(self, images: Tensor) -> tuple[Tensor, dict[str, float]]:
        with inference(self.model):
            return super().attack(images)


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
