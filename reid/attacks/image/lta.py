"""LTA: away from the feature of the image with a patch in grey (Gong et al., CVPR 2022)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import AttackBatch
from reid.attacks.image.levels import Levels
from reid.attacks.image.linf import Features
from reid.attacks.image.mifgsm import added
from reid.runtime.device import send
from reid.runtime.seeds import generator

LUMA = (0.299, 0.587, 0.114)
AREA, RATIO = (0.02, 0.4), (0.3, 3.3)  # of the patch: share of the image, height / width


@dataclass(frozen=True)
class LTA(Levels):
    """The objective is the squared distance to that feature; steps as in MI-FGSM. The patch is drawn once for all
    images. Its paper gives 15 steps at 5/255; its tables could not be had."""

    steps: int = 15

    def guides(self, victim: Features, batch: AttackBatch) -> Tensor:
        return victim(self.greyed(batch.images))

    def direction(self, gradient: Tensor, last: Tensor) -> Tensor:
        return added(gradient, last)

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        return (features - clean).square().sum(dim=1)

    def greyed(self, images: Tensor) -> Tensor:
        """The images (N, 3, H, W) with their patch in grey."""
        height, width = images.shape[2:]
        share, ratio, top, left = torch.rand(4, generator=generator(self.seed, self.restarts)).tolist()
        area = height * width * (AREA[0] + share * (AREA[1] - AREA[0]))
        ratio = RATIO[0] + ratio * (RATIO[1] - RATIO[0])
        high, wide = (
            max(1, min(size, round(side)))
            for size, side in ((height, (area * ratio) ** 0.5), (width, (area / ratio) ** 0.5))
        )
        y, x = int(top * (height - high + 1)), int(left * (width - wide + 1))
        patch = (..., slice(y, y + high), slice(x, x + wide))
        weights = send(torch.tensor(LUMA), images.device)[:, None, None]
        images = images.clone()
        images[patch] = (images[patch] * weights).sum(dim=1, keepdim=True)
        return images
