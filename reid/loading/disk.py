"""Decoded images of a list of samples in one file, which processes share through the page cache."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterable, Sequence
from io import FileIO
from itertools import chain
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock
from torch import Tensor

from reid.datasets import Sample
from reid.datasets.converted import CACHE
from reid.datasets.picture import RESTORE, RULES
from reid.errors import DatasetError
from reid.runtime.files import temporary_sibling
from reid.runtime.progress import progress

logger = logging.getLogger(__name__)

HEADER = 4096  # bytes before the pixels: one line of JSON, filled up with spaces


class DiskImages:
    """Images of `samples`, uint8 (height, width, 3), in one file of the folder `cache` next to that of the images.

    Who opens it first makes it of `decoded`, batches (n, 3, height, width) in order; others wait. It is made again when
    it is cut short, or the image files (name, size, time), Pillow or the rules of decoding are not those of its header.
    Reading maps nothing: memory does not grow with the set. Raises DatasetError when an image is missing or the file
    cannot be made.
    """

    def __init__(self, samples: Sequence[Sample], height: int, width: int, decoded: Iterable[Tensor]) -> None:
        home = os.path.dirname(os.path.dirname(samples[0].path))
        names = _hash(sample.path.removeprefix(home) for sample in samples)
        self.path = Path(home, CACHE, f"{height}x{width}-{names[:12]}.images")
        self._count, self._image_bytes = len(samples), 3 * height * width
        self._size = HEADER + self._count * self._image_bytes
        shape = {"height": height, "width": width, "count": self._count}
        decoder = f"Pillow {PIL.__version__}, rules {RULES}"
        origin = {"names": names, "files": _hash(map(_state, samples)), "decoded_by": decoder}
        self._header = json.dumps(shape | origin).encode().ljust(HEADER - 1) + b"\n"
        self._lock = threading.Lock()
        self._file = self._open_or_make(decoded)

    def read(self, index: int, target: np.ndarray) -> None:
        """Copy an image to `target`. Raises DatasetError when the file no longer has it."""
        with self._lock:
            self._file.seek(HEADER + index * self._image_bytes)
            length = self._file.readinto(target.data)
        if length != self._image_bytes:
            raise DatasetError(f"{self.path} was cut short while in use; start again, which makes a new one")

    def _open_or_make(self, decoded: Iterable[Tensor]) -> FileIO:
        try:
            if file := self._open():
                return file
            self.path.parent.mkdir(exist_ok=True)
            with FileLock(f"{self.path}.lock"):  # other processes wait, and then find the file made
                if file := self._open():
                    return file
                if self.path.exists():
                    logger.warning("%s is cut short, or of other images, rules or Pillow: it is replaced", self.path)
                self._make(decoded)
                return FileIO(self.path)
        except OSError as error:
            remedy = f"use --cache ram, or make it a folder to write to with {self._size / 1e9:.1f} GB of room"
            problem = f"cannot keep decoded images in {self.path.parent} ({error.strerror or error})"
            raise DatasetError(f"{problem}; {remedy}") from error

    def _open(self) -> FileIO | None:
        """The file if it is whole and of these very images."""
        with contextlib.suppress(FileNotFoundError):
            file = FileIO(self.path)
            if file.read(HEADER) == self._header and os.fstat(file.fileno()).st_size == self._size:
                return file
            file.close()
        return None

    def _make(self, decoded: Iterable[Tensor]) -> None:
        if shutil.disk_usage(self.path.parent).free < self._size:  # rather than fill the disk before it fails
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        logger.info("decoding %d images into %s, %.1f GB", self._count, self.path, self._size / 1e9)
        with temporary_sibling(self.path) as temporary, open(temporary, "wb") as file:
            file.write(self._header)
            for image in progress(chain.from_iterable(decoded), self._count, "decoding image"):
                file.write(image.permute(1, 2, 0).contiguous().numpy().data)
            file.flush()
            os.fsync(file.fileno())  # a crash of the machine must not leave a file of zeros under the final name


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()  # names need not be UTF-8


def _state(sample: Sample) -> str:
    try:
        status = os.stat(sample.path)
    except OSError as error:
        raise DatasetError(f"cannot read the image {sample.path} ({error.strerror}); {RESTORE}") from error
    return f"{status.st_size} {status.st_mtime_ns}"
