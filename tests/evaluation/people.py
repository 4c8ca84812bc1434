"""People who are three stripes of red and green, and networks that know them if they are given them right."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid.datasets import Dataset, Release, Sample
from reid.models.inputs import InputSpec
from reid.models.sources import Source

LEVELS = (0.2, 0.4, 0.6, 0.8)


def people(folder: Path, count: int = 24, cameras: int = 3) -> Dataset:
    """`count` people, an image each under every camera: three stripes tell who it is, not by their blue."""
    random = np.random.default_rng(0)
    codes = random.permutation(64)[:count]
    samples = []
    for pid, code in enumerate(codes, 1):
        for camid in range(cameras):
            pixels = random.uniform(0.1, 0.9, (3, 1, 3))
            red = [LEVELS[code >> 2 * stripe & 3] for stripe in range(3)]
            pixels[:, 0, :2] = np.array(red)[:, None] + random.uniform(-0.02, 0.02, (3, 1))
            path = folder / f"{pid:04d}_c{camid + 1}.png"
            image = np.clip(255 * pixels, 0, 255).round().astype(np.uint8).repeat(8, 0).repeat(12, 1)
            Image.fromarray(image).save(path)
            samples.append(Sample(str(path), pid, camid))
    query = samples[::cameras]
    gallery = [sample for sample in samples if sample not in query] if cameras > 1 else samples
    return Dataset("stripes", folder, {"trainval": [], "query": query, "gallery": gallery}, cameras, Release("stripes"))


def network(spec: InputSpec, order: bool = True, height: int | None = None) -> Callable[[Tensor], Tensor]:
    """Knows people in images that are prepared as `spec` says; any order of channels will do unless `order`; it looks
    for the stripes where they are in images of that `height` (None: in any)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))

    def features(images: Tensor) -> Tensor:
        colours = (images * std + mean) / spec.scale
        colours = colours.flip(1) if spec.channels == "bgr" else colours
        rows = [(2 * stripe + 1) * (height or images.shape[2]) // 6 for stripe in range(3)]
        rows = [min(row, images.shape[2] - 1) for row in rows]
        stripes = colours[:, 0 if order else 1, rows].mean(2)
        tents = [(1 - (stripes - level).abs() / 0.08).clamp(min=0) for level in LEVELS]
        return torch.cat([*tents, torch.full_like(stripes, 0.3)], 1)

    return features


def source(model: Callable[[Tensor], Tensor], own: InputSpec | None = None, **options: object) -> Source:
    return Source("stripes:net", "ab" * 32, lambda variant: model, lambda variant: own, **options)
