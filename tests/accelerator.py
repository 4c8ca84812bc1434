"""A device that is not the CPU, for machines without one: it computes on the CPU, and refuses what a GPU refuses.

Its tensors say that they are on DEVICE. Operators that are given some of them together with tensors on the CPU raise,
and their values come to the CPU only where the code asks for that, which is counted: a GPU is waited for there. What
differs in CUDA itself, its kernels, streams, libraries and memory, does not show here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("lazy")  # a type without kernels in usual builds, whose backward passes need no thread of its own
CPU = torch.device("cpu")
aten = torch.ops.aten
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
SIZED = (aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.bincount, aten.repeat_interleave)
READ = (aten._local_scalar_dense, aten.is_nonzero, aten.equal, aten.allclose)
NO_SCALARS = (aten.stack, aten.cat, aten.index_select, aten.gather, aten.scatter, aten.scatter_add, aten.scatter_add_)


class OnDevice(Tensor):
    """A tensor on DEVICE; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnDevice":
        tensor = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


class Accelerator(TorchDispatchMode):
    """While it is on, tensors are made on DEVICE where the code says so; `waits` are the operators waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if _waits(func, args, kwargs):
            self.waits.append(str(func))
        return _run(func, args, kwargs)


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    place = _place(func, args, kwargs)
    if not _is_copy(func):
        _check_places(func, args, kwargs, place)
    if "device" in kwargs:
        kwargs = {**kwargs, "device": CPU}
    given = {id(x.held): x for x in tree_leaves((args, kwargs)) if isinstance(x, OnDevice)}
    args, kwargs = tree_map_only(OnDevice, lambda x: x.held, (args, kwargs))
    found = func(*args, **kwargs)
    if place == CPU:
        return found
    return tree_map_only(Tensor, lambda x: given[id(x)] if id(x) in given else OnDevice(x), found)


def _is_copy(func: Any) -> bool:
    return func in (aten._to_copy.default, aten.copy_.default)


def _waits(func: Any, args: tuple, kwargs: dict) -> bool:
    """Whether the CPU waits for a GPU: for a value, the size of a result, or a copy from one to the other."""
    if _is_copy(func):
        source, rest = (args[1], args[2:]) if func is aten.copy_.default else (args[0], ())
        place, asynchronous = _place(func, args, kwargs), any(rest) or bool(kwargs.get("non_blocking"))
        if asynchronous and (source.device, place) == (DEVICE, CPU):
            raise RuntimeError(f"{func}: nobody waits for these values, and the CPU may read them too early")
        return source.device != place and not asynchronous
    if func in INDEXED and isinstance(args[0], OnDevice):
        return any(x.dtype == torch.bool or x.device == CPU for x in args[1] if x is not None)
    sized = func.overloadpacket in SIZED and kwargs.get("output_size") is None
    return (sized or func.overloadpacket in READ) and isinstance(args[0], OnDevice)


def _place(func: Any, args: tuple, kwargs: dict) -> torch.device:
    """Where the outputs of an operator are."""
    if func is aten.copy_.default:
        return args[0].device
    if kwargs.get("device") is not None:
        return kwargs["device"]
    return DEVICE if any(isinstance(x, OnDevice) for x in tree_leaves((args, kwargs))) else CPU


def _check_places(func: Any, args: tuple, kwargs: dict, place: torch.device) -> None:
    leaves = tree_leaves((args[:1] + args[2:] if func in INDEXED and place == DEVICE else args, kwargs))
    for x in leaves:
        scalar = isinstance(x, Tensor) and x.ndim == 0 and func.overloadpacket not in NO_SCALARS
        if isinstance(x, Tensor | Generator) and not scalar and x.device != place:
            raise RuntimeError(f"{func} on {place} is given a {type(x).__name__} that is on {x.device}")


class _Python(TorchFunctionMode):
    """What torch does below its dispatcher: constants and lists that become tensors, and tensors that become lists."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or CPU) == DEVICE:
            return func(*args, **{**kwargs, "device": CPU}).to(DEVICE)
        if isinstance(first, OnDevice):
            if func is Tensor.new_tensor:
                return first.held.new_tensor(*args[1:], **kwargs).to(DEVICE)
            if func is Tensor.__getitem__ and isinstance(args[1], list):
                return first[torch.tensor(args[1])]
            if func is Tensor.tolist:
                return first.cpu().tolist()
        return func(*args, **kwargs)


@contextmanager
def accelerator() -> Iterator[Accelerator]:
    """Inside, DEVICE can be used as a GPU would be."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled

    def known(device_type: str) -> str:
        return "cpu" if device_type == DEVICE.type else device_type

    torch.autocast = lambda device_type, *args, **kwargs: autocast(known(device_type), *args, **kwargs)
    torch.is_autocast_enabled = lambda device_type: enabled(known(device_type))
    torch.lazy = SimpleNamespace()  # the module of the device, as torch.cuda is that of a GPU
    try:
        with Accelerator() as device, _Python():
            yield device
    finally:
        torch.autocast, torch.is_autocast_enabled = autocast, enabled
        del torch.lazy
