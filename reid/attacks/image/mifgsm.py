"""MI-FGSM away from the matches: steps along gradients that add up (Dong et al., CVPR 2018; Bai et al., TPAMI 2020)."""

from dataclasses import dataclass

from torch import Tensor

from reid.attacks.image.ifgsm import IFGSM


@dataclass(frozen=True)
class MIFGSM(IFGSM):
    """Gradients are scaled to equal length in L1 before they are added. Published: one of the three attacks of Bai et
    al., see IFGSM."""

    def direction(self, gradient: Tensor, last: Tensor) -> Tensor:
        return added(gradient, last)


def added(gradient: Tensor, last: Tensor) -> Tensor:
    """The last direction (N, 3, H, W) and the gradient, scaled to a mean of 1; momentum 1."""
    return last + gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
