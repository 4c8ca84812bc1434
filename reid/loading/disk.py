"""Decoded images of a list of samples in one file, which threads, processes and ranks share through the page cache."""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from reid.datasets import Sample
from reid.errors import DatasetError
from reid.runtime.files import temporary_sibling

logger = logging.getLogger(__name__)

FOLDER = "cache"
HEADER = 4096  # bytes before the pixels: one line of JSON, filled up with spaces


class DiskImages:
    """Images of `samples`, uint8 (height, width, 3), one after the other in a file that is made once.

    The file stands in the folder `cache` beside the folder of the images, and its name tells size and samples. Who
    opens it first makes it from `decoded()`, which gives all images in order as batches (n, 3, height, width); others
    wait for that. It is made again when it is cut short, or when names, sizes or times of the image files, or Pillow,
    are not those of its header. Reading copies from the page cache and maps nothing: the memory of this process does
    not grow with the set. Raises DatasetError when an image is missing or the file cannot be made.
    """

    def __init__(
        self, samples: Sequence[Sample], height: int, width: int, decoded: Callable[[], Iterable[Tensor]]
    ) -> None:
        home = os.path.dirname(os.path.dirname(samples[0].path))
        names = hashlib.sha256("\n".join(sample.path.removeprefix(home) for sample in samples).encode()).hexdigest()
        self.path = Path(home, FOLDER, f"{height}x{width}-{names[:12]}.images")
        self._image_bytes = 3 * height * width
        self._size = HEADER + len(samples) * self._image_bytes
        self._header = {
            "height": height,
            "width": width,
            "count": len(samples),
            "names": names,
            "files": _state(samples),
            "decoded_by": f"Pillow {PIL.__version__}",
        }
        self._file = self._open_or_make(decoded)

    def read(self, index: int, target: np.ndarray) -> None:
        """Copy an image to `target`, uint8 (height, width, 3). Raises DatasetError when the file no longer has it."""
        if os.preadv(self._file.fileno(), [target.data], HEADER + index * self._image_bytes) != self._image_bytes:
            raise DatasetError(f"{self.path} was cut short while in use; start again, which makes it anew")

    def _open(self) -> BinaryIO | None:
        """The file if it is whole and of these very images."""
        try:
            file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (it stays open)
        except FileNotFoundError:
            return None
        try:
            header = json.loads(file.read(HEADER))
        except ValueError:
            header = None
        if header == self._header and os.fstat(file.fileno()).st_size == self._size:
            return file
        file.close()
        return None

    def _open_or_make(self, decoded: Callable[[], Iterable[Tensor]]) -> BinaryIO:
        try:
            if file := self._open():
                return file
            self.path.parent.mkdir(exist_ok=True)
            with FileLock(f"{self.path}.lock"):  # other processes wait, and then find the file made
                if file := self._open():
                    return file
                if self.path.exists():
                    logger.warning("%s is cut short, or of other images or another Pillow: making it anew", self.path)
                self._make(decoded)
                return open(self.path, "rb", buffering=0)
        except OSError as error:
            raise DatasetError(
                f"cannot keep decoded images in {self.path.parent} ({error.strerror or error}); use --cache ram, "
                f"or make it a folder to write to with {self._size / 1e9:.1f} GB of room"
            ) from error

    def _make(self, decoded: Callable[[], Iterable[Tensor]]) -> None:
        if shutil.disk_usage(self.path.parent).free < self._size:  # rather than fill the disk before it fails
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        logger.info("decoding %d images into %s, %.1f GB", self._header["count"], self.path, self._size / 1e9)
        bar = tqdm(total=self._header["count"], desc="decoding", unit="image", leave=False, disable=None)
        with bar, temporary_sibling(self.path) as temporary, open(temporary, "wb") as file:
            file.write(json.dumps(self._header).encode().ljust(HEADER - 1) + b"\n")
            for images in decoded():
                file.write(images.permute(0, 2, 3, 1).contiguous().numpy().data)
                bar.update(len(images))
            file.flush()
            os.fsync(file.fileno())  # a crash of the machine must not leave a file of zeros under the final name


def _state(samples: Sequence[Sample]) -> str:
    """Hash of the sizes and times of change of all image files."""
    digest = hashlib.sha256()
    for sample in samples:
        try:
            status = os.stat(sample.path)
        except OSError as error:
            raise DatasetError(
                f"cannot read the image {sample.path} ({error.strerror}); restore it, or convert the dataset again"
            ) from error
        digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
