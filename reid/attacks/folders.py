"""The images of a folder under a universal perturbation, as PNG files: 8 bits, and still within the budget."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid.attacks.base import TOLERANCE
from reid.attacks.threat import Threat
from reid.attacks.universal.perturbations import Delta, Perturbation
from reid.datasets import Sample
from reid.datasets.picture import read_rgb
from reid.loading import ImageStore, to_images
from reid.runtime import distributed
from reid.runtime.progress import progress

BATCH = 64  # images that are perturbed at a time


def grey_levels(threat: Threat) -> int:
    """The whole grey levels by which a threat lets a pixel change."""
    return math.floor((threat.eps_total + TOLERANCE) * 255)


def size_of(noise: Perturbation) -> tuple[int, int] | None:
    """Height and width of the additive image, where the perturbation has one."""
    sizes = (layer.delta.shape[2:] for layer in noise.layers() if isinstance(layer, Delta))
    return next(((height, width) for height, width in sizes), None)


@torch.no_grad()
def perturbed(noise: Perturbation, pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 images (N, 3, H, W) under `noise`, which is on `device`: rounded to the nearest levels in its budget."""
    levels, clean = grey_levels(noise.threat), pixels.short()
    exact = noise(to_images(pixels, device)).mul(255).round().short().cpu()
    return exact.clamp(clean - levels, clean + levels).byte()


def png_names(names: Iterable[str]) -> dict[str, str]:
    """What the perturbed image of each file is called: a.png for a.jpg. Where two would get one name, all keep theirs
    and get another suffix: a.jpg.png."""
    names = list(names)
    short = {name: f"{os.path.splitext(name)[0]}.png" for name in names}
    return short if len(set(short.values())) == len(names) else {name: f"{name}.png" for name in names}


def write_perturbed(
    noise: Perturbation,
    samples: Mapping[str, Sample],
    out: Path,
    size: tuple[int, int] | None,
    device: torch.device,
    workers: int = 2,
) -> int:
    """Write each image under `noise` into `out`, called as `png_names` says; the largest change, in grey levels.

    Images get this (height, width), or where it is None keep theirs, to which `noise` is then resized. All of them
    appear once the last one is done; there may be files of the same names, which are replaced. Under torchrun each
    process writes its part of them. Raises DatasetError for an image that cannot be read.
    """
    own, largest = distributed.share(list(samples)), 0
    out.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix=".", suffix=".part", dir=out) as staging,
        ThreadPoolExecutor(max(1, workers)) as pool,
    ):
        batches, total = _batches([samples[name] for name in own], size, workers)
        for places, pixels in progress(batches, total, "perturbing batch"):
            attacked = perturbed(noise, pixels, device)
            largest = max(largest, int((attacked.short() - pixels.short()).abs().max()))
            files = [os.path.join(staging, f"{place}.png") for place in places]
            list(pool.map(_save, attacked.permute(0, 2, 3, 1).numpy(), files))
        largest = max(distributed.every(largest))  # all of them are done
        targets = png_names(samples)
        for place, name in enumerate(own):
            target = out / targets[name]
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(os.path.join(staging, f"{place}.png"), target)
    return largest


def _save(pixels: np.ndarray, path: str) -> None:
    Image.fromarray(pixels).save(path)


def _batches(
    samples: Sequence[Sample], size: tuple[int, int] | None, workers: int
) -> tuple[Iterator[tuple[Sequence[int], Tensor]], int]:
    """Positions and uint8 images (n, 3, H, W) of each batch, and how many batches there are: of one image each where
    they keep their sizes."""
    if size:
        return ImageStore(samples, *size, workers, "none").in_order(BATCH), -(-len(samples) // BATCH)
    pixels = (torch.from_numpy(np.array(read_rgb(sample.path))) for sample in samples)
    return (([i], image.permute(2, 0, 1)[None]) for i, image in enumerate(pixels)), len(samples)
