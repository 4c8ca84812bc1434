"""Images of a list of samples as batches: decoded at each use, or once and then kept in memory or on disk."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from reid.datasets import Sample
from reid.datasets.picture import read_rgb
from reid.errors import UsageError
from reid.loading.disk import DiskImages
from reid.runtime.device import send

GIBIBYTE = 2**30
CACHES = ("ram", "disk", "none")


@dataclass(frozen=True)
class Images:
    """What all stores of one command have in common (see ImageStore)."""

    height: int = 256
    width: int = 128
    workers: int = 2
    cache: str = "ram"

    def stores(self, sides: tuple[Sequence[Sample], Sequence[Sample]]) -> tuple["ImageStore", "ImageStore"]:
        """Stores of two sides, query and gallery."""
        return self.store(sides[0]), self.store(sides[1])

    def store(self, samples: Sequence[Sample]) -> "ImageStore":
        """A store of these samples. Raises UsageError for an unknown cache."""
        return ImageStore(samples, self.height, self.width, self.workers, self.cache)


class ImageStore:
    """Images of `samples`, decoded by `workers` threads (0: the caller's) and resized by Pillow's bilinear filter.

    `cache` says what happens to decoded images: "none" drops them, "ram" keeps up to `memory` bytes of them, "disk"
    keeps all in a file that processes share (see DiskImages). Raises UsageError for others.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        height: int,
        width: int,
        workers: int = 2,
        cache: str = "ram",
        memory: int = 4 * GIBIBYTE,
    ) -> None:
        if cache not in CACHES:
            raise UsageError(f"cache {cache!r} is not one of {', '.join(CACHES)}")
        self.samples = list(samples)
        if workers < 0:
            raise UsageError(f"{workers} workers cannot decode; give at least 0, which is the caller's own thread")
        self.height, self.width, self._workers, self._cache = height, width, workers, cache
        self._kept: dict[int, np.ndarray] = {}
        self._room = memory // (3 * height * width) if cache == "ram" else 0
        self._map = ThreadPoolExecutor(workers, thread_name_prefix="decode").map if workers else map

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: Iterable[int]) -> Tensor:
        """uint8 RGB images (n, 3, H, W), channels last in memory. Raises DatasetError naming an unreadable file."""
        indices = list(indices)
        images = torch.empty(len(indices), self.height, self.width, 3, dtype=torch.uint8)
        places = list(zip(indices, images.numpy(), strict=True))
        read = self._on_disk.read if self._cache == "disk" else self._read

        parts = self._workers or 1

        def fill(part: int) -> None:
            for index, target in places[part::parts]:
                read(index, target)

        list(self._map(fill, range(parts)))
        return images.permute(0, 3, 1, 2)

    def batches(self, index_batches: Iterable[Sequence[int]]) -> Iterator[tuple[Sequence[int], Tensor]]:
        """(indices, images) of each batch; where there are workers, the next one is decoded while this one is used."""
        if not self._workers:
            yield from ((indices, self.batch(indices)) for indices in index_batches)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
            submitted = ((indices, ahead.submit(self.batch, indices)) for indices in index_batches)
            pending = next(submitted, None)
            while pending:
                following = next(submitted, None)
                yield pending[0], pending[1].result()
                pending = following

    def among(self, places: Sequence[int]) -> "ImageStore":
        """A store of the samples at these places, with what is decoded of them."""
        samples = [self.samples[place] for place in places]
        cache = "none" if self._cache == "none" else "ram"
        part = ImageStore(samples, self.height, self.width, self._workers, cache)
        part._kept = {new: self._kept[old] for new, old in enumerate(places) if old in self._kept}
        return part

    def in_order(self, batch_size: int) -> Iterator[tuple[Sequence[int], Tensor]]:
        """All images, in the order of `samples`."""
        return self.batches(range(i, min(i + batch_size, len(self))) for i in range(0, len(self), batch_size))

    def _read(self, index: int, target: np.ndarray) -> None:
        image = self._kept.get(index)
        if image is None:
            image = _decode(self.samples[index].path, self.height, self.width)
            if len(self._kept) < self._room:
                self._kept[index] = image
        target[:] = image

    @cached_property
    def _on_disk(self) -> DiskImages:
        source = ImageStore(self.samples, self.height, self.width, self._workers, "none")
        return DiskImages(self.samples, self.height, self.width, (images for _, images in source.in_order(64)))


def _decode(path: str, height: int, width: int) -> np.ndarray:
    image = read_rgb(path)
    doubled = (2 * image.width, 2 * image.height) == (width, height)
    if not doubled and image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    flat = np.frombuffer(bytearray(image.tobytes()), np.uint8)  # one copy, where np.asarray makes several
    pixels = flat.reshape(image.height, image.width, 3)
    if not doubled:
        return pixels
    # Ten times as fast as Pillow, and the same bits: both filters have exact weights for doubling, as of Market-1501.
    images = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    return interpolate(images, scale_factor=2, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()


def to_images(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 images (n, 3, H, W) as float32 in [0, 1] on `device`, channels last."""
    pixels = send(pixels, device).contiguous(memory_format=torch.channels_last)
    white = torch.full((), 255.0, device=device)  # by a number, CUDA would multiply by a rounded 1/255
    return pixels.float().div_(white)
