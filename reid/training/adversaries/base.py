"""What an adversary is: it perturbs half of each training batch, in pixel space, at random budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Generator, Tensor

from reid.attacks import Attack, Perturbation
from reid.models.network import ReidModel
from reid.runtime import distributed
from reid.runtime.device import send
from reid.training.adversaries import AdversaryOptions


@dataclass(frozen=True)
class Setting:
    """What an adversary is made from: options, the model in training, the perturbations in files, size, seed."""

    options: AdversaryOptions
    model: ReidModel
    perturbations: Sequence[Perturbation]
    size: tuple[int, int]  # height and width of the images
    device: torch.device
    seed: int


class Part(NamedTuple):
    """Which `rows` of a batch of `total` images some are. Whatever is drawn for each image is drawn for all of the
    batch, so that several processes, each with its share, draw what one would."""

    rows: Tensor
    total: int

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """This process's share of a batch, when it is `images`."""
        total = len(images) * distributed.size()
        return cls(distributed.share(torch.arange(total)), total)


class Adversary:
    """What all adversaries share; this one has nothing to learn and no state."""

    @classmethod
    def of(cls, setting: Setting) -> Self:
        """The adversary that the options ask for."""
        raise NotImplementedError

    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        """Perturbed images from images (N, 3, H, W), both in [0, 1]; `random` draws a budget for each image.

        `part` says which rows of a batch they are, where they are not this process's share of one.
        """
        raise NotImplementedError

    def learn(self, perturbed: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Take a step, given what `perturb` returned and the gradients of the training loss with respect to that."""

    def attacks(self) -> list[Attack]:
        """The attacks at full budget that a model of this training is selected by."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


def at_random_budgets(images: Tensor, noise: Perturbation, random: Generator, part: Part | None = None) -> Tensor:
    """Each image with its own share, in [0, 1), of what `noise` adds to it: within that share of the budget."""
    return images + shares(images, random, part) * (noise(images) - images)


def shares(images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
    """Shares of the budget (N, 1, 1, 1), one for each image, in [0, 1) with density 2s: the clean half of a batch has
    share zero already, so larger ones are drawn more often."""
    rows, total = part or Part.of(images)
    return send(torch.rand((total, 1, 1, 1), generator=random)[rows].sqrt(), images.device)
