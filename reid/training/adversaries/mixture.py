"""Several adversaries that share each batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from reid.attacks import Attack
from reid.runtime import distributed
from reid.runtime.device import send
from reid.training.adversaries.base import Adversary, random_shares


class Mixture(Adversary):
    """Several adversaries; each gets its share of the images of every batch, at random."""

    def __init__(self, members: Sequence[Adversary]) -> None:
        self.members = list(members)

    def perturb(self, images: Tensor, random: Generator, shares: Tensor | None = None) -> Tensor:
        order = torch.randperm(len(images) * distributed.size(), generator=random)  # of the whole batch
        member_of = distributed.share(order % len(self.members))
        shares = random_shares(images, random) if shares is None else shares
        rows = [send((member_of == place).nonzero()[:, 0], images.device) for place in range(len(self.members))]
        parts = [each.perturb(images[r], random, shares[r]) for each, r in zip(self.members, rows, strict=True)]
        return torch.cat(parts)[torch.cat(rows).argsort()]

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
