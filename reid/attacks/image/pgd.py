"""PGD that pushes the feature of each image away from its clean one (SMA; Bouniot et al., 2020)."""

from dataclasses import dataclass

from torch import Tensor

from reid.attacks.base import AttackBatch
from reid.attacks.image.linf import LInf


@dataclass(frozen=True)
class PGD(LInf):
    """The objective is the squared Euclidean distance to the image's own clean feature. It has no gradient at the image
    itself, hence the random start."""

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        return (features - clean).pow(2).sum(dim=1)
