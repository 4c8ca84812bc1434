"""Random augmentation of whole batches in [0, 1], drawn from a CPU generator so that every device sees the same."""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

IMAGENET_MEAN = (0.485, 0.456, 0.406)


def flip(images: Tensor, random: Generator, probability: float = 0.5) -> Tensor:
    """Mirror each image (N, 3, H, W) left to right with `probability`."""
    chosen = torch.rand(len(images), generator=random) < probability
    return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(3), images)


def shift(images: Tensor, random: Generator, share: float = 10 / 256) -> Tensor:
    """Pad with black by `share` of the height (10 pixels at 256) and crop the old size at a random place."""
    margin = round(share * images.shape[2])
    height, width = images.shape[2:]
    padded = pad(images, (margin, margin, margin, margin))
    tops, lefts = torch.randint(2 * margin + 1, (2, len(images)), generator=random).tolist()
    crops = [image[:, y : y + height, x : x + width] for image, y, x in zip(padded, tops, lefts, strict=True)]
    return torch.stack(crops)


def erase(images: Tensor, random: Generator, probability: float = 0.5) -> Tensor:
    """Random erasing (Zhong et al., 2020): a rectangle of 2 to 40 % of the area becomes the ImageNet mean."""
    images = images.clone()
    fill = images.new_tensor(IMAGENET_MEAN)[:, None, None]
    height, width = images.shape[2:]
    for image in images:
        if torch.rand((), generator=random) >= probability:
            continue
        for _ in range(100):
            area, aspect, at_y, at_x = torch.rand(4, generator=random).tolist()
            area = (0.02 + 0.38 * area) * height * width
            aspect = math.exp((2 * aspect - 1) * math.log(1 / 0.3))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                y, x = int(at_y * (height - h + 1)), int(at_x * (width - w + 1))
                image[:, y : y + h, x : x + w] = fill
                break
    return images


def usual(images: Tensor, random: Generator) -> Tensor:
    """The field's usual training augmentation: flip, padded random crop, random erasing."""
    return erase(shift(flip(images, random), random), random)
