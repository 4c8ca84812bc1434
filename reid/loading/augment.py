"""The field's usual augmentation of training images, for whole batches: flip, padded random crop, random erasing; and
colour jitter.

Numbers are drawn on the CPU, so that every device and division sees the same. Flip and crop move bytes, before images
become floats and go to their device; erasing needs the exact mean. Jitter comes last, over the erased part too.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from reid.loading.store import to_images
from reid.runtime.device import send

IMAGENET_MEAN = (0.485, 0.456, 0.406)
PADDING = 10 / 256  # of the height
ATTEMPTS = 10  # to find a rectangle that fits, as torchvision has it
# How far logarithms go: gamma, gain of red, green and blue, contrast, saturation.
JITTER = (0.4, 0.25, 0.25, 0.25, 0.3, 0.5)


def draw(count: int, size: Sequence[int], random: Generator) -> Tensor:
    """What happens to images of `size` (height, width): integers (count, 7), three for `move`, then four for `erase_`.

    Mirrored with probability 0.5. Moved by up to 10 pixels at a height of 256 (others in proportion), uniformly. Erased
    with probability 0.5 (Zhong et al., 2020): a rectangle of 2 to 40 % of the area, its aspect uniform in the logarithm
    from 0.3 to 1/0.3, its place uniform.
    """
    margin = round(PADDING * size[0])
    mirrored = torch.rand(count, 1, generator=random) < 0.5
    places = torch.randint(-margin, margin + 1, (count, 2), generator=random)
    erased = torch.rand(count, 1, generator=random) < 0.5
    return torch.cat([mirrored, places, erased * _rectangles(count, size, random)], dim=1)


def usual(pixels: Tensor, drawn: Tensor, device: torch.device) -> Tensor:
    """uint8 images (N, 3, H, W) with the N rows of `draw`, as float32 in [0, 1] on `device`."""
    return erase_(to_images(move(pixels, drawn[:, :3]), device), drawn[:, 3:])


def draw_jitter(count: int, strength: float, random: Generator) -> Tensor:
    """Factors (count, 6) for `jittered`, uniform in the logarithm, to `strength` times JITTER either way."""
    spread = 2 * torch.rand(count, len(JITTER), generator=random) - 1
    return torch.exp(strength * torch.tensor(JITTER) * spread)


def jittered(images: Tensor, factors: Tensor) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] as another camera in another light would have them, with the N rows of
    `draw_jitter`: to the power of gamma, times the gains, from their mean by the contrast, from grey by the saturation.
    """
    gamma, contrast, saturation = (send(factors[:, i, None, None, None], images.device) for i in (0, 4, 5))
    gains = send(factors[:, 1:4, None, None], images.device)
    images = images**gamma * gains
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + contrast * (images - mean)
    grey = images.mean(dim=1, keepdim=True)
    return (grey + saturation * (images - grey)).clamp(0, 1)


def move(pixels: Tensor, moves: Tensor) -> Tensor:
    """Images (N, 3, H, W) mirrored and moved as `moves` (N, 3) says: mirrored, down, right; black comes in."""
    height, width = pixels.shape[2:]
    moved = torch.zeros_like(pixels)
    for target, image, (mirrored, y, x) in zip(moved, pixels, moves.tolist(), strict=True):
        source = image.flip(2) if mirrored else image
        visible = source[:, max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
        target[:, max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)] = visible
    return moved


def erase_(images: Tensor, rectangles: Tensor) -> Tensor:
    """Fill a rectangle of each of the images (N, 3, H, W) in [0, 1] with the ImageNet mean, in place.

    `rectangles` (N, 4): top, left, bottom, right, the last two exclusive; all 0 leaves an image alone.
    """
    mean = send(torch.tensor(IMAGENET_MEAN, dtype=images.dtype), images.device)[:, None, None]
    for image, (top, left, bottom, right) in zip(images, rectangles.tolist(), strict=True):
        if bottom > top:
            image[:, top:bottom, left:right] = mean
    return images


def _rectangles(count: int, size: Sequence[int], random: Generator) -> Tensor:
    """Integers (count, 4): the first of some attempts that is lower and narrower than the image, 0 if none is."""
    height, width = size
    area, aspect, y, x = torch.rand(4, count, ATTEMPTS, dtype=torch.float64, generator=random)
    area = (0.02 + 0.38 * area) * height * width
    aspect = torch.exp((2 * aspect - 1) * math.log(1 / 0.3))
    h, w = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    top, left = (y * (height - h + 1)).floor(), (x * (width - w + 1)).floor()
    fits = (h < height) & (w < width)
    tried = torch.stack([top, left, top + h, left + w], dim=2) * fits[:, :, None]
    return tried[torch.arange(count), fits.int().argmax(1)].long()
