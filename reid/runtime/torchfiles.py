"""Files of `torch.save`: ours are written whole, those of strangers are read without running what is in them."""

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reid.errors import CheckpointError
from reid.runtime import interrupts
from reid.runtime.files import write_atomically


def _numpy_scalar_globals() -> list[Any]:
    """What a numpy float64 in a checkpoint needs, under its numpy 1 and numpy 2 module names, and nothing else."""
    scalar = importlib.import_module("numpy._core.multiarray").scalar
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, np.dtypes.Float64DType]


def write_torch(path: str | Path, content: Any) -> Path:
    """Write `content` whole or not at all, and return the path; the same content gives the same bytes."""

    def write(temporary: Path) -> None:
        with interrupts.held(), open(temporary, "wb") as file:  # given a name, torch.save would write it into the file
            try:
                torch.save(content, file)
            except RuntimeError as error:  # torch's own, for whatever keeps it from writing on
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    return write_atomically(path, write)


def read_torch(path: str | Path) -> Any:
    """The object in a `torch.save` file, tensors on the CPU, no code of the file ever run.

    Raises CheckpointError for more than tensors, plain values and numpy scalars, and for what cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the path of a checkpoint file in it")
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint file: {path}; check the path (relative to the current folder)")
    try:
        with open(path, "rb") as file:
            head = file.read(256).lstrip().lower()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    if not head:
        raise CheckpointError(f"{path} is empty; download or save it again")
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(f"{path} is a web page, saved in place of the checkpoint; download the file itself")
    try:
        with torch.serialization.safe_globals(_numpy_scalar_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged bytes the unpickler raises nearly anything
        problem = "is truncated, damaged or not a torch checkpoint; download or save it again"
        if re.search("unsupported (global|class)", str(error), re.IGNORECASE):
            problem = "holds more than tensors and plain values, which could run code; ask its author for a state dict"
        raise CheckpointError(f"{path} {problem}") from error
