"""Features in a file that other programs read: .npz of numpy, or HDF5."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reid.errors import UsageError
from reid.runtime.extras import extra
from reid.runtime.files import write_atomically

_SUFFIXES = (".npz", ".h5", ".hdf5")


def check_format(path: Path) -> None:
    """Raise UsageError for another suffix, and for HDF5 where the package that writes it is missing."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path} must end in {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}")
    if path.suffix.lower() != ".npz":
        extra("h5py", f"writing {path}")


def write_features(path: Path, names: Sequence[str], features: np.ndarray, metadata: Mapping[str, Any]) -> None:
    """Write `features` (N, D) float32, N `names`, and `metadata` as JSON, whole or not at all; see docs/features.md.

    Bytes of a name that are not UTF-8 survive: os.fsencode(name) gives them back. Raises UsageError as `check_format`.
    """
    check_format(path)
    write = _write_npz if path.suffix.lower() == ".npz" else _write_hdf5
    write_atomically(path, lambda temporary: write(temporary, names, features, json.dumps(metadata)))


def _write_npz(path: Path, names: Sequence[str], features: np.ndarray, metadata: str) -> None:
    with open(path, "wb") as file:  # given a name, numpy would add a suffix
        np.savez(file, names=np.array(names), features=features, metadata=np.array(metadata))


def _write_hdf5(path: Path, names: Sequence[str], features: np.ndarray, metadata: str) -> None:
    h5py = extra("h5py", f"writing {path}")
    with h5py.File(path, "w") as file:
        file.create_dataset("names", data=[os.fsencode(name) for name in names], dtype=h5py.string_dtype())
        file.create_dataset("features", data=features)
        file.attrs["metadata"] = metadata
