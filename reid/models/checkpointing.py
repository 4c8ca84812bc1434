"""Activation checkpointing: what a block computes inside is computed again in the backward pass instead of kept."""

import itertools

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """`block(x)`, of which only input and output are kept for the backward pass.

    The second computation sees the weights of the first, also where `functional_call` had put others in their place,
    and leaves the running statistics alone, which the first has moved already.
    """
    weights, statistics = dict(block.named_parameters()), dict(block.named_buffers())
    passes = itertools.count()

    def run(x: Tensor) -> Tensor:
        again = next(passes) > 0
        held = {name: value.clone() for name, value in statistics.items()} if again else statistics
        return functional_call(block, weights | held, (x,))

    return checkpoint(run, x, use_reentrant=False, preserve_rng_state=False)
