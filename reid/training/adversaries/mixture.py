"""Several adversaries that share each batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from reid.attacks import Attack
from reid.runtime.device import send
from reid.training.adversaries.base import Adversary, Part


class Mixture(Adversary):
    """Several adversaries; each gets its share of the images of every batch, at random."""

    def __init__(self, members: Sequence[Adversary]) -> None:
        self.members = list(members)

    def perturb(self, images: Tensor, random: Generator, part: Part | None = None) -> Tensor:
        rows, total = part or Part.of(images)
        place_of = torch.full((total,), -1)  # of each row of the batch among `images`, -1 for those elsewhere
        place_of[rows] = torch.arange(len(images))
        parts, places = [], []
        order = torch.randperm(total, generator=random)
        for member, mine in zip(self.members, order.tensor_split(len(self.members)), strict=True):
            if len(mine):
                own = Part((place_of[mine] >= 0).nonzero()[:, 0], len(mine))
                places.append(send(place_of[mine][own.rows], images.device))
                parts.append(member.perturb(images[places[-1]], random, own))
        return torch.cat(parts)[torch.cat(places).argsort()]

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
