"""How hard to look for a universal perturbation on the model under evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from reid.runtime.cli import positive_int
from reid.runtime.options import option


@dataclass(frozen=True)
class Effort:
    """`restarts` times, each for at most `adaptive_epochs` x `adaptive_iters` steps with batches of `batch_size`
    images, `num_instances` of each identity, then once from each of the files in `warm_start`. A restart ends earlier
    once it no longer improves."""

    batch_size: int = 64
    restarts: int = option(3, "re-learnt perturbations, each from another start; the worst counts", type=positive_int)
    adaptive_epochs: int = option(10, "most epochs of a restart", type=positive_int)
    adaptive_iters: int | None = option(None, "steps per epoch (default: images / batch size)", type=positive_int)
    num_instances: int = option(8, "K: images per identity in a batch", type=positive_int)
    warm_start: Sequence[str] = option(
        (), "perturbations to start from too; none that the model was trained on", nargs="+", metavar="FILE"
    )
