"""Blocks whose activations are computed again when the first derivative needs them, never kept."""

from contextlib import nullcontext

from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, x: Tensor) -> Tensor:
    """`block(x)`, of which only the input is kept until the backward pass computes the block again.

    That uses the weights of the first computation, also where `functional_call` had put others in their place, and
    leaves the running statistics alone, which the first has moved already. A backward pass with create_graph keeps all
    that it computes.
    """
    weights, statistics = dict(block.named_parameters()), dict(block.named_buffers())
    recomputing = _Flag()

    def run(x: Tensor, *values: Tensor) -> Tensor:
        buffers = {name: value.clone() for name, value in statistics.items()} if recomputing.on else statistics
        return functional_call(block, dict(zip(weights, values, strict=True)) | buffers, (x,))

    inputs = (x, *weights.values())
    contexts = nullcontext(), recomputing
    return checkpoint(run, *inputs, use_reentrant=False, context_fn=lambda: contexts, preserve_rng_state=False)


class _Flag:
    """A context, to be entered any number of times, in which it is `on`."""

    on = False

    def __enter__(self) -> None:
        self.on = True

    def __exit__(self, *error: object) -> None:
        self.on = False
