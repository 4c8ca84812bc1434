"""Adversaries with one perturbation for all images: files that never change, and one that learns."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Generator, Tensor

from reid import attacks
from reid.attacks import MISGD, Attack, Perturbation, Threat
from reid.runtime import distributed
from reid.runtime.seeds import generator
from reid.training.adversaries.aim import Aim, inference
from reid.training.adversaries.base import Adversary, Setting


class Pool(Adversary):
    """Perturbations that stay as they are: for each batch one of them. With a single one, the frozen adversary."""

    def __init__(self, perturbations: Sequence[Perturbation]) -> None:
        self.perturbations = list(perturbations)

    @classmethod
    def of(cls, setting: Setting) -> Self:
        return cls(setting.perturbations)

    @torch.no_grad()
    def perturb(
        self, images: Tensor, random: Generator, shares: Tensor | None = None, aim: Aim | None = None
    ) -> Tensor:
        noise = self.perturbations[int(torch.randint(len(self.perturbations), (), generator=random))]
        return _within_shares(images, noise, self.shares(images, random, shares))

    def attacks(self) -> list[Attack]:
        return list(self.perturbations)


class Online(Adversary):
    """A universal perturbation that is kept through training and learns a step on each batch.

    Without an aim it climbs the training loss, of which its gradient is a by-product (Free-AT; Shafahi et al., 2019,
    with one perturbation for all images). With one it takes a step of its own before it perturbs, at the full budget
    and in eval mode. It starts anywhere in its budget, and takes MI-SGD steps of a tenth of it.
    """

    def __init__(self, noise: Perturbation, seed: int) -> None:
        self.noise = noise.randomise_(generator(seed))
        self.optimizer = MISGD(noise.step_groups(), lr=0.0, momentum=0.9)

    @classmethod
    def of(cls, setting: Setting) -> Self:
        options = setting.options
        noise = attacks.create(options.noise_type, options.max_eps, options.max_eps, *setting.size)
        return cls(noise.to(setting.device), setting.seed)

    def perturb(
        self, images: Tensor, random: Generator, shares: Tensor | None = None, aim: Aim | None = None
    ) -> Tensor:
        shares = self.shares(images, random, shares)
        if aim is None:
            return _within_shares(images, self.noise, shares)
        with inference(aim.model):
            reached = aim.reached(aim.model.features(self.noise(images)).float()).sum()
            self._climb(torch.autograd.grad(reached, list(self.noise.parameters()), allow_unused=True))
        with torch.no_grad():
            return _within_shares(images, self.noise, shares)

    def learn(self, perturbed: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        parameters = list(self.noise.parameters())
        self._climb(torch.autograd.grad(perturbed, parameters, gradients, retain_graph=True, allow_unused=True))

    def _climb(self, uphill: Sequence[Tensor | None]) -> None:
        """A step along this process's part of the gradient of each parameter."""
        used = [(p, g) for p, g in zip(self.noise.parameters(), uphill, strict=True) if g is not None]
        total = distributed.summed([gradient for _, gradient in used])
        for (parameter, _), gradient in zip(used, total, strict=True):
            parameter.grad = -gradient
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.noise.project_()

    def attacks(self) -> list[Attack]:
        return [self.noise]

    def state_dict(self) -> dict[str, Any]:
        return {"noise": self.noise.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.noise.load_state_dict(state["noise"])
        self.optimizer.load_state_dict(state["optimizer"])


class OnlineDelta(Online):
    """The same with an additive image alone, at the total budget of a colour table and an additive image."""

    @classmethod
    def of(cls, setting: Setting) -> Self:
        budget = Threat(setting.options.max_eps, setting.options.max_eps).eps_total
        return cls(attacks.create(2, 0.0, budget, *setting.size).to(setting.device), setting.seed)


def _within_shares(images: Tensor, noise: Perturbation, shares: Tensor) -> Tensor:
    """Each image with its own share of what `noise` adds to it: within that share of the budget."""
    return images + shares * (noise(images) - images)
