"""Toward another identity of the training images; a gallery image then answers the queries for that one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import AttackBatch, Reference
from reid.attacks.image.adaptive import Adaptive


@dataclass(frozen=True)
class Nearest(Adaptive):
    """The objective is minus the squared distance to the mean feature of the training identity that is nearest to the
    clean image."""

    needs = frozenset({"gradients", "training"})

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        assert batch.training is not None
        return -(features - nearest(clean, batch.training)).square().sum(dim=1)


@dataclass(frozen=True)
class Farthest(Adaptive):
    """The same of the training identity that is farthest from the clean image."""

    needs = frozenset({"gradients", "training"})

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        assert batch.training is not None
        return -(features - farthest(clean, batch.training)).square().sum(dim=1)


def nearest(clean: Tensor, others: Reference) -> Tensor:
    """The mean feature (N, D) of the identity of `others` that is nearest to each clean feature."""
    return others.identities[torch.cdist(clean, others.identities).argmin(dim=1)]


def farthest(clean: Tensor, others: Reference) -> Tensor:
    """The mean feature (N, D) of the identity of `others` that is farthest from each clean feature."""
    return others.identities[torch.cdist(clean, others.identities).argmax(dim=1)]
