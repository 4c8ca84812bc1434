"""Several processes that do the job of one: each takes its share, sums go over all of them (docs/distributed.md).

With one process every function here gives back what it got. The processes exchange sums over all of them. A sum is its
own derivative, so gradients of any order are those that one process would find: with a part of the loss on each process
the gradient of all parts is the sum over the processes of what autograd gives on each.
"""

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import pad

from reid.runtime.job import can_resume as can_resume
from reid.runtime.job import is_main, rank, size, watched
from reid.runtime.job import local_rank as local_rank

T = TypeVar("T")
S = TypeVar("S", bound=Sequence | Tensor)


def share(items: S) -> S:
    """This process's part of `items`, a run of them; equally many for each where they can be divided."""
    return cast(S, items[rank() * len(items) // size() : (rank() + 1) * len(items) // size()])


def all_sum(tensor: Tensor) -> Tensor:
    """The sum over the processes, on each of them, of tensors of one shape; differentiable, any number of times."""
    return tensor if size() == 1 else _AllSum.apply(tensor)


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes (size x N, ...), in order of rank, from N rows on each; differentiable."""
    if size() == 1:
        return rows
    before, after = rank() * len(rows), (size() - 1 - rank()) * len(rows)
    return all_sum(pad(rows, [0, 0] * (rows.ndim - 1) + [before, after]))


def gather_blocks(blocks: Sequence[Tensor], device: torch.device) -> Tensor:
    """The rows of all processes, in order of rank, from any number of float32 blocks (N, D) on `device` of each."""
    if size() == 1:
        return blocks[0] if len(blocks) == 1 else torch.cat(list(blocks))
    shapes = every((sum(map(len, blocks)), blocks[0].shape[1] if blocks else 0))
    rows = torch.zeros(sum(n for n, _ in shapes), max(d for _, d in shapes), device=device)
    if blocks:
        before = sum(n for n, _ in shapes[: rank()])
        torch.cat(list(blocks), out=rows[before : before + shapes[rank()][0]])
    with watched():
        dist.all_reduce(rows)
    return rows


def summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor summed over the processes, all in one message; differentiable."""
    if size() == 1 or not tensors:
        return list(tensors)
    parts = all_sum(torch.cat([tensor.flatten() for tensor in tensors])).split([t.numel() for t in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def every(value: T) -> list[T]:
    """The plain values of all processes, in order of rank."""
    values: list[Any] = [value] * size()
    if size() > 1:
        with watched():
            dist.all_gather_object(values, value)
    return values


def from_main(function: Callable[[], T]) -> T:
    """What `function()` gives on rank 0, on every process; where it raises an error, all raise it."""
    if size() == 1:
        return function()
    message: list[Any] = [None, None]  # the value, the error
    failure: Exception | None = None
    if is_main():
        try:
            message[0] = function()
        except Exception as error:  # none may leave the others waiting
            failure, message[1] = error, _sendable(error)
    with watched():
        dist.broadcast_object_list(message)
    if message[1] is not None:
        raise failure or message[1]
    return message[0]


def _sendable(error: Exception) -> Exception:
    """The error, or its words where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def same_(module: nn.Module) -> None:
    """Give the parameters and buffers of `module` the values that they have on rank 0, in place."""
    if size() > 1:
        with watched():
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.detach(), 0)


class _AllSum(torch.autograd.Function):
    """y_r = sum of x over all ranks, for every rank r. The gradient of x_r is then the sum of the gradients of y."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        with watched():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _AllSum.apply(*gradients)
