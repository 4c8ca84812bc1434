"""What an adversary is, alone or several together: it perturbs images of each training batch, at random budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Generator, Tensor

from reid.attacks import Attack, Perturbation
from reid.models.network import Trainable
from reid.runtime import distributed
from reid.runtime.device import send
from reid.training.adversaries import AdversaryOptions
from reid.training.adversaries.aim import Aim


@dataclass(frozen=True)
class Setting:
    """What an adversary is made from: options, the model in training, the perturbations in files, size, seed."""

    options: AdversaryOptions
    model: Trainable
    perturbations: Sequence[Perturbation]
    size: tuple[int, int]  # height and width of the images
    device: torch.device
    seed: int


class Adversary:
    """What all adversaries share; this one has nothing to learn and no state."""

    objective: str | None = None  # of OBJECTIVES: where images are driven; None: where the defence says
    least_share = 0.0  # of the budget, for each perturbed image

    @classmethod
    def of(cls, setting: Setting) -> Self:
        """The adversary that the options ask for."""
        raise NotImplementedError

    def perturb(
        self, images: Tensor, random: Generator, shares: Tensor | None = None, aim: Aim | None = None
    ) -> Tensor:
        """Perturbed images from images (N, 3, H, W), both in [0, 1].

        `shares` (N, 1, 1, 1) is how much of the budget each image may use; without, `random` draws it, at least
        `least_share`. `aim` is where their features are to go; without, an adversary that learns climbs the training
        loss.
        """
        raise NotImplementedError

    def learn(self, perturbed: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Take a step, given what `perturb` returned and the gradients of the training loss with respect to that."""

    def attacks(self) -> list[Attack]:
        """The attacks at full budget that a model of this training is selected by."""
        raise NotImplementedError

    def shares(self, images: Tensor, random: Generator, given: Tensor | None) -> Tensor:
        """Shares of the budget (N, 1, 1, 1) for each of the images: those `given`, or as `random_shares` draws them."""
        return random_shares(images, random, self.least_share) if given is None else given

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


def random_shares(images: Tensor, random: Generator, least: float = 0.0) -> Tensor:
    """Shares of the budget (N, 1, 1, 1), one for each image, from `least` up to 1, of linear density from zero: the
    clean images of a usual batch have share zero already, so larger ones are drawn more often.

    They are drawn for the whole batch, so that a process of a torchrun gets what one alone would draw for its images.
    """
    drawn = torch.rand((len(images) * distributed.size(), 1, 1, 1), generator=random)
    return send(least + (1 - least) * distributed.share(drawn).sqrt(), images.device)


class Mixture(Adversary):
    """Several adversaries, each of which gets its share of the images of every batch, at random."""

    def __init__(self, members: Sequence[Adversary]) -> None:
        self.members = list(members)

    def perturb(
        self, images: Tensor, random: Generator, shares: Tensor | None = None, aim: Aim | None = None
    ) -> Tensor:
        order = torch.randperm(len(images) * distributed.size(), generator=random)  # of the whole batch
        member_of = distributed.share(order % len(self.members))
        shares = self.shares(images, random, shares)
        rows, parts = [(member_of == place).nonzero()[:, 0] for place in range(len(self.members))], []
        for member, own in zip(self.members, rows, strict=True):
            here = send(own, images.device)
            parts.append(member.perturb(images[here], random, shares[here], aim and aim.of(own)))
        return torch.cat(parts)[send(torch.cat(rows).argsort(), images.device)]

    def learn(self, perturbed: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        for member in self.members:
            member.learn(perturbed, gradients)

    def attacks(self) -> list[Attack]:
        return [attack for member in self.members for attack in member.attacks()]

    def state_dict(self) -> dict[str, Any]:
        return {str(i): member.state_dict() for i, member in enumerate(self.members)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, member in enumerate(self.members):
            member.load_state_dict(state[str(i)])
