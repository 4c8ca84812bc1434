"""Activation checkpointing: what a block computes inside is computed again when a derivative needs it, never kept.

That holds for the second derivative too: the first one is an operation of its own, which keeps its inputs alone and
differentiates itself by computing the block again.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from reid.models.operators import FastOperators

Found = tuple[Tensor | None, ...]


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """`block(x)`, of which only the input is kept for the first derivative, and that and the gradient for the second.

    Later computations see the weights of the first, also where `functional_call` had put others in their place, and
    leave the running statistics alone, which the first has moved already.
    """
    weights = dict(block.named_parameters())
    kind = x.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    again = _Again(block, tuple(weights), dict(block.named_buffers()), autocast)
    return _Block.apply(again, x, *weights.values())


@dataclass(frozen=True)
class _Again:
    """How to compute a block again, from its inputs: x and its weights."""

    block: nn.Module
    names: tuple[str, ...]
    statistics: dict[str, Tensor]
    autocast: torch.dtype | None

    def output(self, inputs: Sequence[Tensor], statistics: dict[str, Tensor]) -> Tensor:
        x, *weights = inputs
        same = torch.autocast(x.device.type, self.autocast, cache_enabled=False) if self.autocast else nullcontext()
        with same:
            return functional_call(self.block, dict(zip(self.names, weights, strict=True)) | statistics, (x,))

    def gradients(self, dy: Tensor, inputs: Sequence[Tensor], needed: Sequence[bool], graph: bool = False) -> Found:
        """Gradients of <dy, output> with respect to the inputs that are `needed`, as leaves, and None for others."""
        with FastOperators(second=graph):
            output = self.output(inputs, {name: value.clone() for name, value in self.statistics.items()})
        wanted = [value for value, need in zip(inputs, needed, strict=True) if need]
        found = iter(torch.autograd.grad(output, wanted, dy, create_graph=graph))
        return tuple(next(found) if need else None for need in needed)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, again: _Again, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.again = again
        return again.output(inputs, again.statistics)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Found:
        return None, *_BlockBackward.apply(ctx.again, ctx.needs_input_grad[1:], dy, *ctx.saved_tensors)


class _BlockBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, again: _Again, needed: tuple[bool, ...], dy: Tensor, *inputs: Tensor) -> Found:
        ctx.save_for_backward(dy, *inputs)
        ctx.set_materialize_grads(False)
        ctx.again, ctx.needed = again, needed
        with torch.enable_grad():
            return again.gradients(dy, _leaves(inputs, needed), needed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *vectors: Tensor | None) -> Found:
        """Gradients with respect to dy and the inputs of the sum of <vector, gradient>."""
        needed = (True, *ctx.needed)
        dy, *inputs = leaves = _leaves(ctx.saved_tensors, needed)
        with torch.enable_grad():
            gradients = ctx.again.gradients(dy, inputs, ctx.needed, graph=True)
        pairs = [(g, v) for g, v in zip(gradients, vectors, strict=True) if g is not None and v is not None]
        wanted = [value for value, need in zip(leaves, needed, strict=True) if need]
        outputs, weights = zip(*pairs, strict=True)
        found = iter(torch.autograd.grad(outputs, wanted, weights, allow_unused=True))
        return None, None, *(next(found) if need else None for need in needed)


def _leaves(values: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor]:
    return [value.detach().requires_grad_(need) for value, need in zip(values, needed, strict=True)]
