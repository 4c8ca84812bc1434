"""What a list of samples really is: a hash of names, identities, cameras and the bytes of the files."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from reid.datasets.base import Sample
from reid.errors import DatasetError

_BATCH = 1024  # files that are queued at a time
_digests: dict[tuple[str, int, int], str] = {}  # (path, size, time of last change) -> SHA-256 of the file


def contents_sha256(samples: Sequence[Sample], workers: int = 2) -> str:
    """Hexadecimal SHA-256 of the samples in their order: base name (without folder), pid, camid and bytes of each file.

    A process reads a file again only after its size or time changed. Raises DatasetError for an unreadable one.
    """
    whole = hashlib.sha256()
    remaining = iter(samples)
    with ThreadPoolExecutor(workers or 1) as pool:  # which starts no thread before it is given work
        in_turn = pool.map if workers else map
        while batch := list(islice(remaining, _BATCH)):
            for sample, digest in zip(batch, in_turn(_digest, [sample.path for sample in batch]), strict=True):
                line = [os.path.basename(sample.path), int(sample.pid), int(sample.camid), digest]
                whole.update(json.dumps(line).encode() + b"\n")
    return whole.hexdigest()


def _digest(path: str) -> str:
    try:
        status = os.stat(path)
        key = (path, status.st_size, status.st_mtime_ns)
        if key not in _digests:
            with open(path, "rb") as file:
                _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}; put the image back or make it readable") from error
    return _digests[key]
