"""Files: read what strangers wrote without running it, write ours whole or not at all."""

import contextlib
import glob
import hashlib
import importlib
import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reid.errors import CheckpointError, ReidError


@contextlib.contextmanager
def temporary_sibling(path: str | Path) -> Iterator[Path]:
    """Yield a fresh name beside `path`; on success it is renamed to `path`, on any error it is removed.

    The folder is created. A reader therefore sees the old file, or the whole new one, never a part.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part"):  # of a process that was killed
        stale.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, writer: Callable[[Path], object]) -> Path:
    """Let `writer(temporary_path)` write the file, then put it in its place at once. Returns the final path."""
    with temporary_sibling(path) as temporary:
        writer(temporary)
    return Path(path)


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises ReidError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ReidError(f"cannot read {path}: {error.strerror}; give the path of an existing file") from error


def _numpy_scalar_globals() -> list[Any]:
    """What a numpy float64 in a checkpoint needs, under its numpy 1 and numpy 2 module names, and nothing else."""
    scalar = importlib.import_module("numpy._core.multiarray").scalar
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        np.dtypes.Float64DType,
    ]


def read_torch(path: str | Path) -> Any:
    """The object in a `torch.save` file (new or torch 1.x format), tensors on the CPU, no code of the file ever run.

    Beyond what `weights_only=True` takes, only numpy scalars are allowed: released checkpoints hold one.
    Raises CheckpointError with one clear line for anything else.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the path of a checkpoint file in it")
    if not path.is_file():
        raise CheckpointError(
            f"no such checkpoint file: {path}; check the path (relative paths start at the current folder)"
        )
    try:
        with open(path, "rb") as file:
            head = file.read(256).lstrip().lower()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    if not head:
        raise CheckpointError(f"{path} is empty; download or save it again")
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(
            f"{path} is a web page, not a checkpoint: the download saved an error or confirmation page; "
            "download the file itself"
        )
    try:
        with torch.serialization.safe_globals(_numpy_scalar_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported global" in str(error).lower() or "unsupported class" in str(error).lower():
            raise CheckpointError(
                f"{path} holds more than tensors and plain values, which could run code, so it was not loaded: "
                "ask its author for a state dict"
            ) from error
        raise CheckpointError(f"{path} is not a torch checkpoint, or is damaged; download or save it again") from error
    except Exception as error:  # on damaged bytes the unpickler raises nearly anything
        raise CheckpointError(f"{path} is truncated or damaged; download or save it again") from error
