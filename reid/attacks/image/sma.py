"""SMA: away from the own clean feature, from a random start (Bouniot et al., 2020)."""

from dataclasses import dataclass

from torch import Tensor

from reid.attacks.base import AttackBatch
from reid.attacks.image.levels import Levels
from reid.attacks.image.linf import LInf


@dataclass(frozen=True)
class SMA(Levels):
    """The objective is the squared distance to the own clean feature; at the image itself it has no gradient, hence the
    start. Published: a ResNet-50 on Market-1501, queries under 8/255: 71.1 mAP to 8.6 (by Zheng et al., 2018)."""

    steps: int = 15

    start = LInf.start

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        return (features - clean).square().sum(dim=1)
