"""Files of `torch.save`: ours are written whole, those of strangers are read without running what is in them."""

import contextlib
import io
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.torch
import torch

from reid.errors import CheckpointError, few
from reid.runtime import containers, interrupts
from reid.runtime.files import write_atomically
from reid.runtime.pickles import StandIn, Unpickler, build, storage_dtype

logger = logging.getLogger(__name__)

DEEPEST = 3  # archives in archives


class _OtherKindError(Exception):
    """What was read turns out to be of another kind, which is not read."""


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
    """What a file holds, tensors on the CPU, numpy's arrays and numbers as such; nothing that it names is ever run.

    Read are files of torch.save of any age, also unpacked, pickles, safetensors (`state_dict` and its metadata), .npy
    and .npz, and archives around one of these. Objects of unknown classes become StandIns (reid.runtime.pickles).
    Raises CheckpointError, which names what any other file is.
    """
    path = Path(path)
    kind = containers.kind_of(path)
    if kind == "unpacked":
        return _guarded(path, kind, lambda: _read_folder(path))
    if kind not in containers.READ:
        raise containers.refusal(path, kind)
    with open(path, "rb") as file:
        return _read(file, path, path.name, kind)


def _read(file: BinaryIO, path: Path, name: str, kind: str, depth: int = 0) -> Any:
    if kind != "archive":
        return _guarded(path, kind, lambda: READERS[kind](file))
    inner, member = _guarded(path, kind, lambda: containers.inside(file, path, name))
    logger.info("%s is an archive; %s in it is read", path, few([member]))
    inner_kind = containers.kind_of_file(inner, Path(member).name)
    if inner_kind not in containers.READ or depth == DEEPEST:
        raise containers.refusal(f"{path}: {few([member])}", inner_kind if depth < DEEPEST else "packed")
    return _read(inner, path, member, inner_kind, depth + 1)


def _guarded(path: Path, kind: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except CheckpointError:
        raise
    except _OtherKindError as error:
        raise containers.refusal(path, str(error)) from None
    except Exception as error:  # on damaged bytes the readers raise nearly anything
        if containers.is_unfinished(path):
            raise containers.refusal(path, "partial") from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        problem = f"is {containers.READ[kind]}, but truncated or damaged ({reason}); download or save it again"
        raise CheckpointError(f"{path} {problem}") from error


def _read_zip(file: BinaryIO) -> Any:
    archive = zipfile.ZipFile(file)
    (root,) = containers.roots(archive.namelist())
    return _read_records(lambda name: archive.open(root + name))


def _read_folder(folder: Path) -> Any:
    root = next(folder.glob("data.pkl"), None) or next(folder.glob("*/data.pkl"))
    return _read_records(lambda name: open(root.parent / name, "rb"))


def _read_records(record: Callable[[str], Any]) -> Any:
    """From the parts of a checkpoint, which `record` opens by name: the pickle and its storages."""

    def storage(key: Any, count: int) -> bytearray:
        if not str(key).isalnum():  # it is a name of a file
            raise ValueError(f"storage {key}")
        with record(f"data/{key}") as file:
            return bytearray(file.read(count))

    with contextlib.suppress(KeyError, FileNotFoundError), record("byteorder") as file:
        if file.read(3) == b"big":
            raise _OtherKindError("big endian")
    with record("data.pkl") as file:
        content = Unpickler(io.BytesIO(file.read())).load()
    return build(content, storage)


def _read_pickle(file: BinaryIO) -> Any:
    """A plain pickle, or the format of torch.save before 1.6: several, the last one followed by the storages."""
    content = Unpickler(file).load()
    if content != torch.serialization.MAGIC_NUMBER:
        return build(content, _no_storage)
    _version, system = Unpickler(file).load(), Unpickler(file).load()
    if not system["little_endian"]:
        raise _OtherKindError("big endian")
    unpickler = Unpickler(file)
    content = unpickler.load()
    places: dict[Any, int] = {}
    for key in Unpickler(file).load():
        count = int.from_bytes(file.read(8), "little")
        places[key] = file.tell()
        file.seek(count * storage_dtype(unpickler.storages[key].args[0]).itemsize, io.SEEK_CUR)

    def storage(key: Any, count: int) -> bytearray:
        file.seek(places[key])
        return bytearray(file.read(count))

    return build(content, storage)


def _no_storage(key: Any, count: int) -> bytearray:
    raise _OtherKindError("apart")


def _read_safetensors(file: BinaryIO) -> dict[str, Any]:
    data = file.read()
    tensors = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {**{key: _value(text) for key, text in header.get("__metadata__", {}).items()}, "state_dict": tensors}


def _value(text: str) -> Any:
    """A number, or what else JSON has; other text stays text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read_npy(file: BinaryIO) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except ValueError as error:
        raise _OtherKindError("objects") if "allow_pickle" in str(error) else error from None


def _read_npz(file: BinaryIO) -> dict[str, Any]:
    """Arrays of objects are left out, with a stand-in in their place."""
    content: dict[str, Any] = {}
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            with archive.open(name) as member, contextlib.suppress(_OtherKindError):
                content[name.removesuffix(".npy")] = StandIn.of("numpy.object_")
                content[name.removesuffix(".npy")] = _read_npy(io.BytesIO(member.read()))
    return content


READERS: dict[str, Callable[[BinaryIO], Any]] = {
    "torch": _read_zip,
    "pickle": _read_pickle,
    "safetensors": _read_safetensors,
    "npy": _read_npy,
    "npz": _read_npz,
}
