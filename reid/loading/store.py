"""Images of a list of samples, decoded once, resized, and kept in memory as far as a bound allows."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid.datasets import Sample
from reid.errors import DatasetError

GIBIBYTE = 2**30


class ImageStore:
    """`store.batch(indices)` gives uint8 images (n, 3, height, width), RGB, resized by Pillow's bilinear filter.

    Decoding runs on `workers` threads (Pillow releases the interpreter lock). Up to `memory` bytes of decoded
    images are kept, so that a set that fits is decoded once and a larger one streams.
    """

    def __init__(
        self, samples: Sequence[Sample], height: int, width: int, workers: int = 2, memory: int = 4 * GIBIBYTE
    ) -> None:
        self.samples = list(samples)
        self.height, self.width = height, width
        self._kept: dict[int, np.ndarray] = {}
        self._room = memory // (3 * height * width)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: Iterable[int]) -> Tensor:
        """uint8 images (n, 3, H, W) of the samples at `indices`. Raises DatasetError naming an unreadable file."""
        images = list(self._threads.map(self._image, indices))
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def batches(self, index_batches: Iterable[Sequence[int]]) -> Iterator[tuple[Sequence[int], Tensor]]:
        """(indices, images) one after the other, the next one being decoded while the caller uses this one."""
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
            pending: tuple[Sequence[int], Future[Tensor]] | None = None
            for indices in index_batches:
                following = indices, ahead.submit(self.batch, indices)
                if pending is not None:
                    yield pending[0], pending[1].result()
                pending = following
            if pending is not None:
                yield pending[0], pending[1].result()

    def in_order(self, batch_size: int) -> Iterator[tuple[Sequence[int], Tensor]]:
        """All images once, in the order of `samples`, in batches of `batch_size`."""
        return self.batches(range(i, min(i + batch_size, len(self))) for i in range(0, len(self), batch_size))

    def _image(self, index: int) -> np.ndarray:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image = _decode(self.samples[index].path, self.height, self.width)
        if len(self._kept) < self._room:
            self._kept[index] = image
        return image


def _decode(path: str, height: int, width: int) -> np.ndarray:
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"cannot read the image {path} ({error}); restore it, or convert the dataset again"
        ) from error
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def to_images(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 images (n, 3, H, W) as float32 in [0, 1] on `device`, channels last, which convolutions prefer."""
    return (pixels.to(device, non_blocking=True).float() / 255).contiguous(memory_format=torch.channels_last)
