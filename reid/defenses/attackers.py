"""The attacker inside training: makes the perturbed half of each batch, in pixel space, at random budgets."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from reid import attacks
from reid.attacks import MISGD, Attack, Perturbation, format_budget
from reid.attacks.image_pgd import FeaturePGD, push_away
from reid.errors import UsageError
from reid.models import ReidModel
from reid.training.seeds import generator

ATTACKERS = ("frozen", "pool", "online", "pgd")


class Attacker:
    """What all attackers share; this one has nothing to learn and no state."""

    def perturb(self, images: Tensor, random: Generator) -> Tensor:
        """Perturbed images from images (N, 3, H, W), both in [0, 1]; `random` draws a budget for each image."""
        raise NotImplementedError

    def learn(self, made: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Take a step, given what `perturb` made and the gradients of the training loss with respect to that."""

    def attacks(self) -> list[Attack]:
        """The attacks at full budget that a model of this training is selected by."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


class Pool(Attacker):
    """Perturbations that stay as they are: for each batch one of them. With a single one, the frozen attacker."""

    def __init__(self, noises: Sequence[Perturbation]) -> None:
        self.noises = list(noises)

    @torch.no_grad()
    def perturb(self, images: Tensor, random: Generator) -> Tensor:
        noise = self.noises[int(torch.randint(len(self.noises), (), generator=random))]
        return at_random_budgets(images, noise, random)

    def attacks(self) -> list[Attack]:
        return list(self.noises)


class Online(Attacker):
    """A universal perturbation that is kept through training and climbs the training loss.

    Its gradient is a by-product of the training step (Free-AT; Shafahi et al., 2019, with one perturbation for all
    images). It starts anywhere in its budget, and takes MI-SGD steps of a tenth of it.
    """

    def __init__(self, noise: Perturbation, seed: int) -> None:
        self.noise = noise.randomise_(generator(seed))
        self.optimizer = MISGD(noise.step_groups(), lr=0.0, momentum=0.9)

    def perturb(self, images: Tensor, random: Generator) -> Tensor:
        return at_random_budgets(images, self.noise, random)

    def learn(self, made: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        parameters = list(self.noise.parameters())
        uphill = torch.autograd.grad(made, parameters, gradients, retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(parameters, uphill, strict=True):
            parameter.grad = None if gradient is None else -gradient
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


class PerImage(Attacker):
    """Another perturbation for every image: PGD on the model as it is, in eval mode (metric adversarial training)."""

    def __init__(self, model: ReidModel, eps: float, steps: int) -> None:
        self.model, self.eps, self.steps = model, eps, steps

    def perturb(self, images: Tensor, random: Generator) -> Tensor:
        budgets = self.eps * shares(images, random)
        training = self.model.training
        self.model.eval()
        perturbed = push_away(self.model.features, images, budgets, self.steps, random)
        self.model.train(training)
        return perturbed

    def attacks(self) -> list[Attack]:
        return [FeaturePGD(self.model.features, self.eps, self.steps)]


class Mixture(Attacker):
    """Several attackers, each with its share of the images of every batch, drawn anew."""

    def __init__(self, members: Sequence[Attacker]) -> None:
        self.members = list(members)

    def perturb(self, images: Tensor, random: Generator) -> Tensor:
        order = torch.randperm(len(images), generator=random)
        parts = zip(self.members, order.tensor_split(len(self.members)), strict=True)
        made = [member.perturb(images[mine.to(images.device)], random) for member, mine in parts if len(mine)]
        return torch.cat(made)[order.argsort().to(images.device)]

    def learn(self, made: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        for member in self.members:
            member.learn(made, gradients)

    def attacks(self) -> list[Attack]:
        return [attack for member in self.members for attack in member.attacks()]

    def state_dict(self) -> dict[str, Any]:
        return {str(i): member.state_dict() for i, member in enumerate(self.members)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, member in enumerate(self.members):
            member.load_state_dict(state[str(i)])


def read_noises(paths: Sequence[str], eps: float, noise_type: int | None) -> list[Perturbation]:
    """The perturbations in attacker files. Raises UsageError for one of another threat than asked for: of another
    type than `noise_type` (None: any), with more than `eps` per component."""
    noises = []
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
                "raise --max-eps, or learn an attacker within it"
            )
        noises.append(noise)
    return noises


def at_random_budgets(images: Tensor, noise: Perturbation, random: Generator) -> Tensor:
    """Each image with its own share, in [0, 1), of what `noise` adds to it: within that share of the budget."""
    return images + shares(images, random) * (noise(images) - images)


def shares(images: Tensor, random: Generator) -> Tensor:
    """Shares of the budget (N, 1, 1, 1), one for each image, in [0, 1) with density 2s: the clean half of a batch has
    share zero already, so larger ones are drawn more often."""
    return torch.rand((len(images), 1, 1, 1), generator=random).sqrt().to(images.device)
