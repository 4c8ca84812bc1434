"""Three drawn images, by which models are told to work."""

import torch
from torch import Tensor

COUNT = 3


def drawn_images(height: int, width: int) -> Tensor:
    """Smooth coloured images (3, 3, height, width), RGB in [0, 1], the same on every machine."""
    y = torch.linspace(0, 1, height, dtype=torch.float64)[:, None]
    x = torch.linspace(0, 1, width, dtype=torch.float64)[None]
    image, channel = torch.meshgrid(torch.arange(COUNT), torch.arange(3), indexing="ij")
    waves = [
        5 * (i + 1) * x + (7 - 2 * i) * (c + 1) * y + i - c for i, c in zip(image.ravel(), channel.ravel(), strict=True)
    ]
    return ((1 + torch.sin(torch.stack(waves))) / 2).view(COUNT, 3, height, width).float()
