"""Blocks whose activations are computed again when a derivative needs them, never kept.

`torch.utils.checkpoint` does that for the first derivative; when it is taken with a graph, for a second one, it keeps
everything after all. Here the first derivative is an operation of its own, which keeps its inputs alone and
differentiates itself by computing the block again.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

Gradients = tuple[Tensor | None, ...]
Run = Callable[..., Tensor]


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """`block(x)`, of which only the input is kept for the first derivative, and that and the gradient for the second.

    Later computations see the weights of the first, also where `functional_call` had put others in their place, and
    leave the running statistics alone, which the first has moved already.
    """
    weights, statistics, kind = dict(block.named_parameters()), dict(block.named_buffers()), x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None

    def run(x: Tensor, *values: Tensor, again: bool) -> Tensor:
        buffers = {name: value.clone() for name, value in statistics.items()} if again else statistics
        state = dict(zip(weights, values, strict=True)) | buffers
        with torch.autocast(kind, dtype, cache_enabled=False) if dtype else nullcontext():
            return functional_call(block, state, (x,))

    return _Block.apply(run, x, *weights.values())


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.run = run
        return run(*inputs, again=False)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        return None, *_BlockBackward.apply(ctx.run, ctx.needs_input_grad[1:], dy, *ctx.saved_tensors)


class _BlockBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, needed: Sequence[bool], dy: Tensor, *inputs: Tensor) -> Gradients:
        ctx.save_for_backward(dy, *inputs)
        ctx.set_materialize_grads(False)
        ctx.run, ctx.needed = run, needed
        leaves = _leaves(inputs, needed)
        with torch.enable_grad():
            return _gradients([run(*leaves, again=True)], leaves, [dy])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *vectors: Tensor | None) -> Gradients:
        """Gradients with respect to dy and the inputs of the sum of <vector, gradient>."""
        dy, *inputs = _leaves(ctx.saved_tensors, (True, *ctx.needed))
        with torch.enable_grad():
            first = _gradients([ctx.run(*inputs, again=True)], inputs, [dy], create_graph=True)
        pairs = [(g, v) for g, v in zip(first, vectors, strict=True) if g is not None and v is not None]
        gradients, weights = zip(*pairs, strict=True)
        return None, None, *_gradients(gradients, [dy, *inputs], weights)


def _leaves(values: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    return [value.detach().requires_grad_(need) for value, need in zip(values, needed, strict=True)]


def _gradients(
    outputs: Sequence[Tensor], leaves: Sequence[Tensor], weights: Sequence[Tensor], create_graph: bool = False
) -> Gradients:
    """Gradients of the sum of <weight, output>, and None for leaves that need none."""
    needed = [leaf for leaf in leaves if leaf.requires_grad]
    values = iter(torch.autograd.grad(outputs, needed, weights, create_graph=create_graph, allow_unused=True))
    return tuple(next(values) if leaf.requires_grad else None for leaf in leaves)
