"""Pickles of strangers, read in two steps that never import or call what they name.

Unpickling makes an inert `StandIn` of everything that is no plain value: classes, functions, what they would return.
Then those that stand for tensors, numpy's numbers and containers are built here, from plain values that are checked.
"""

import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

Storages = Callable[[Any, int], bytearray]  # key and number of bytes to the bytes
STORAGE = "a storage"
DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128, "Untyped": torch.uint8,
    "QInt8": torch.int8, "QUInt8": torch.uint8, "QInt32": torch.int32,
}  # fmt: skip
TORCH_DTYPES = {str(each): each for each in vars(torch).values() if isinstance(each, torch.dtype)}


class StandIn(dict):
    """An object of a pickle that is not made: the dotted name of its class or function, and what it was given.

    As a class it stands for that class or function itself. Whatever a pickle does to it has no effect beyond it.
    """

    origin = ""
    args: tuple[Any, ...] = ()
    state: Any = None
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    @staticmethod
    def of(origin: str, *args: Any) -> "StandIn":
        """A stand-in for what the pickle does not name."""
        made = StandIn(*args)
        made.origin = origin
        return made

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        made = super().__new__(cls)
        made.args = args
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, *args: Any, **kwargs: Any) -> "StandIn":
        return type(self)(*args)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...

    def add(self, item: Any) -> None: ...


class Unpickler(pickle.Unpickler):
    """Texts of Python 2 become text. `storages` are the stand-ins of the storages of tensors that were met, by key."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")
        self.storages: dict[Any, StandIn] = {}
        self._classes: dict[str, type[StandIn]] = {}

    def find_class(self, module: str, name: str) -> type[StandIn]:
        origin = f"{module}.{name}".replace("__builtin__.", "builtins.").replace("numpy.core.", "numpy._core.")
        if origin not in self._classes:
            self._classes[origin] = type("StandIn", (StandIn,), {"origin": origin})
        return self._classes[origin]

    def persistent_load(self, pid: Any) -> Any:
        kind, *rest = pid
        if kind == "module":  # a class, with its source as text
            return rest[0]
        storage = StandIn.of(STORAGE, *rest)
        self.storages.setdefault(rest[1], storage)
        return storage


def build(value: Any, storages: Storages) -> Any:
    """What was unpickled, with tensors, numpy arrays and numbers in place of what stands for them.

    What stands for anything else is left in place. Raises whatever comes of wrong values.
    """
    return _Builder(storages).built(value)


def stand_ins(content: Any, within: str = "", seen: set[int] | None = None) -> Iterator[str]:
    """Where there are stand-ins in plain containers, and for what: "args (argparse.Namespace)"."""
    seen = set() if seen is None else seen
    if id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, StandIn) or (isinstance(content, type) and issubclass(content, StandIn)):
        yield f"{within} ({content.origin})" if within else content.origin
    elif isinstance(content, dict):
        for key, item in content.items():
            yield from stand_ins(item, f"{within}.{key}".lstrip("."), seen)
    elif isinstance(content, list | tuple):
        for item in content:
            yield from stand_ins(item, within, seen)


def storage_dtype(kind: StandIn) -> torch.dtype:
    """Of the numbers in a storage of a class such as torch.FloatStorage; quantised ones are plain integers."""
    return DTYPES[kind.origin.rpartition(".")[2].removesuffix("Storage")]


class _Builder:
    def __init__(self, storages: Storages) -> None:
        self.storages = storages
        self.bytes: dict[Any, Tensor] = {}
        self.done: dict[int, tuple[Any, Any]] = {}  # by the id of what it was made from, which is kept alive

    def built(self, value: Any) -> Any:
        if not isinstance(value, dict | list | tuple | set | frozenset):
            return value
        if id(value) not in self.done:
            self._build(value)
        return self.done[id(value)][1]

    def _build(self, value: Any) -> None:
        if type(value) is dict or type(value) is list:
            self.done[id(value)] = value, value  # before its items, which may hold it
            if isinstance(value, list):
                value[:] = map(self.built, value)
            else:
                self._build_items(value)
        elif isinstance(value, StandIn):
            self.done[id(value)] = value, value
            self.done[id(value)] = value, self._from_stand_in(value)
        else:
            self.done[id(value)] = value, type(value)(map(self.built, value))

    def _build_items(self, value: dict[Any, Any]) -> None:
        items = [(self.built(key), self.built(item)) for key, item in value.items()]
        value.clear()
        value.update(items)

    def _from_stand_in(self, value: StandIn) -> Any:
        if value.origin == STORAGE:
            return self._storage(*value.args)
        value.args, value.state = self.built(value.args), self.built(value.state)
        self._build_items(value)
        maker = MAKERS.get(value.origin)
        made = None if maker is None else maker(value, *value.args)
        return value if made is None else made

    def _storage(self, kind: StandIn, key: Any, location: Any, numel: int, view: Any = None) -> Tensor:
        """The numbers of a storage, in one dimension; tensors that share it share its memory."""
        dtype = storage_dtype(kind)
        if key not in self.bytes:
            count = numel * dtype.itemsize
            data = self.storages(key, count)
            if len(data) != count:
                raise EOFError(f"{len(data)} of {count} bytes of a tensor")
            self.bytes[key] = torch.frombuffer(data, dtype=torch.uint8) if count else torch.empty(0, dtype=torch.uint8)
        numbers = self.bytes[key].view(dtype)
        return numbers if view is None else numbers[view[1] : view[1] + view[2]]


def _tensor(_: StandIn, numbers: Any, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor | None:
    """Of torch's rebuilders; the third one is given the dtype of untyped numbers."""
    if not isinstance(numbers, Tensor):
        return None
    if dtype := TORCH_DTYPES.get(getattr(rest[2], "origin", "")) if len(rest) > 2 else None:
        numbers = numbers.view(dtype)
    return numbers.as_strided(tuple(size), tuple(stride), offset)


def _first(_: StandIn, data: Any = None, *rest: Any) -> Any:
    return data


def _of_type(_: StandIn, function: Any, kind: Any, args: tuple[Any, ...], state: Any) -> Any:
    maker = MAKERS.get(getattr(function, "origin", ""))
    return maker(_, *args) if maker in (_tensor, _first) else None


def _mapping(items: StandIn, given: Any = (), *rest: Any) -> dict[Any, Any]:
    return dict(given if isinstance(given, dict | list) else ()) | items


def _dtype(description: StandIn, code: Any, *rest: Any) -> np.dtype | None:
    if not (isinstance(code, str) and re.fullmatch(r"[<>|=]?[?biufcSU]\d{0,4}", code)):
        return None
    order: Any = description.state[1] if isinstance(description.state, tuple) else "="
    return np.dtype(code).newbyteorder(order if order in ("<", ">") else "=")


def _raw(data: Any) -> bytes:
    """Bytes, which Python 2 pickled as text."""
    if not isinstance(data, str | bytes | bytearray):
        raise TypeError(f"{type(data).__name__} in place of bytes")
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def _scalar(_: StandIn, dtype: Any, data: Any) -> Any:
    return np.ndarray((), dtype, _raw(data)).item() if isinstance(dtype, np.dtype) else None


def _array(array: StandIn, kind: Any, *rest: Any) -> np.ndarray | None:
    if not isinstance(array.state, tuple) or getattr(kind, "origin", "") != "numpy.ndarray":
        return None
    _, shape, dtype, fortran, data = array.state
    return _of_buffer(array, data, dtype, shape, "F" if fortran else "C")


def _of_buffer(_: StandIn, data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray | None:
    """A copy, which may be written to."""
    return np.ndarray(tuple(shape), dtype, _raw(data), order=order).copy(order) if isinstance(dtype, np.dtype) else None


MAKERS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_numpy": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.autograd.variable.Variable": _first,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": lambda _, size=(): tuple(size),
    "numpy.dtype": _dtype,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy._core.numeric._frombuffer": _of_buffer,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _mapping,
    "builtins.set": lambda _, items=(): set(items),
    "builtins.frozenset": lambda _, items=(): frozenset(items),
    "builtins.complex": lambda _, real, imaginary=0.0: complex(real, imaginary),
    "builtins.bytes": lambda _, data=b"", *encoding: _raw(data),
    "builtins.bytearray": lambda _, data=b"", *encoding: bytearray(_raw(data)),
    "_codecs.encode": lambda _, text, encoding="": _raw(text),
}
