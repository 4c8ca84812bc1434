"""Blocks whose activations are computed again when the first derivative needs them, never kept."""

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
    again = False

    def run(x: Tensor, *values: Tensor) -> Tensor:
        nonlocal again
        buffers = {name: value.clone() for name, value in statistics.items()} if again else statistics
        again = True
        return functional_call(block, dict(zip(weights, values, strict=True)) | buffers, (x,))

    return checkpoint(run, x, *weights.values(), use_reentrant=False, preserve_rng_state=False)
