"""FNA: away from guides of the same identity, toward the farthest other one (Bouniot et al., 2020)."""

from dataclasses import dataclass

from torch import Tensor

from reid.attacks.base import AttackBatch
from reid.attacks.image.identities import farthest
from reid.attacks.image.ifgsm import from_matches
from reid.attacks.image.levels import Levels


@dataclass(frozen=True)
class FNA(Levels):
    """Knows training images: the guide is the own clean feature. Published, with other queries as guides, for a
    ResNet-50 on Market-1501 under 8/255: 78.5 mAP to 0.20 (as DDDefense, AAAI 2026, gives it)."""

    steps: int = 15

    needs = frozenset({"gradients", "training"})

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        assert batch.training is not None
        push = (features - clean).square().sum(dim=1)
        return push - (features - farthest(clean, batch.training)).square().sum(dim=1)


@dataclass(frozen=True)
class GalleryFNA(Levels):
    """Knows the other side: the guides are the matches there, and so is the farthest identity."""

    steps: int = 15

    needs = frozenset({"gradients", "labels", "reference"})

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        assert batch.reference is not None
        pull = (features - farthest(clean, batch.reference)).square().sum(dim=1)
        return from_matches(features, batch) - pull
