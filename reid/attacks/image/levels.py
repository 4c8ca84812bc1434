"""The step rule of most published attacks: one grey level at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.image.linf import LInf


@dataclass(frozen=True)
class Levels(LInf):
    """Sign steps of one grey level, from the image itself. Where `steps` is 0, there are min(eps + 4, 1.25 eps), in
    grey levels, as Kurakin et al. (2017) take them."""

    steps: int = 0

    def __post_init__(self) -> None:
        if self.steps == 0:
            levels = 255 * self.eps
            object.__setattr__(self, "steps", max(1, int(min(levels + 4, 1.25 * levels) + 1e-6)))
        super().__post_init__()

    def start(self, images: Tensor, lower: Tensor, upper: Tensor, random: torch.Generator) -> Tensor:
        return images

    def step(self, images: Tensor, direction: Tensor, eps: float | Tensor, number: int) -> Tensor:
        return images + direction.sign() / 255
