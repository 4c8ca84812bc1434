"""Controls that know no budget: what cameras and files do to images. A model that they hurt is fragile as it is."""

from abc import abstractmethod
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from reid.attacks.base import Attack, AttackBatch, Attacked, in_8_bits, linf
from reid.attacks.threat import Threat
from reid.models.victim import Victim
from reid.runtime.device import send


class Distortion(Attack):
    """Changes each image by itself, as far as it may."""

    threat = Threat(0.0, 1.0)
    kind = "control"

    @abstractmethod
    def distorted(self, images: Tensor) -> Tensor:
        """The distorted images (N, 3, H, W), in [0, 1]."""

    def attack(self, victim: Victim, batch: AttackBatch) -> Attacked:
        images = self.distorted(batch.images)
        return Attacked(images, {"delta": linf(images, batch.images)})


class EightBits(Distortion):
    """Rounded to whole grey levels, as in a file."""

    def distorted(self, images: Tensor) -> Tensor:
        return in_8_bits(images, images, 1.0)


@dataclass(frozen=True)
class JPEG(Distortion):
    """Compressed as a JPEG file of this quality, 1 to 95, and read again."""

    quality: int = 75

    def distorted(self, images: Tensor) -> Tensor:
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        read = np.stack([np.asarray(self._read_again(each)) for each in pixels])
        return send(torch.from_numpy(read), images.device).permute(0, 3, 1, 2).to(images.dtype) / 255

    def _read_again(self, pixels: np.ndarray) -> Image.Image:
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality)
        return Image.open(file)


class Blur(Distortion):
    """The mean of 3 x 3 pixels; what lies outside of the image is as its border."""

    def distorted(self, images: Tensor) -> Tensor:
        return avg_pool2d(pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1).clamp(0, 1)
