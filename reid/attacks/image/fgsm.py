"""FGSM away from the matches: one step over the whole budget (Goodfellow et al., ICLR 2015; Bai et al., TPAMI 2020)."""

from dataclasses import dataclass

from torch import Tensor

from reid.attacks.image.ifgsm import IFGSM


@dataclass(frozen=True)
class FGSM(IFGSM):
    """Published, with the loss of a classifier and queries under 8/255, for a ResNet-50 on Market-1501: 71.1 mAP to
    29.3 (Zheng et al., 2018)."""

    steps: int = 1

    def step(self, images: Tensor, direction: Tensor, eps: float | Tensor, number: int) -> Tensor:
        return images + eps / self.steps * direction.sign()
