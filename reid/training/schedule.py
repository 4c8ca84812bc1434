"""How long and how hard to train: steps, learning rates, weight decay, and when on perturbed images alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from reid.errors import UsageError
from reid.runtime.cli import decay, natural_int
from reid.runtime.options import option


def warm_up_and_cosine(step: int, total: int) -> float:
    """Linear rise over the first tenth of all steps, then half a cosine down to a hundredth."""
    rising = max(1, round(0.1 * total))
    if step < rising:
        return (step + 1) / rising
    progress = (step - rising) / max(1, total - rising)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2


def late_decay(step: int, total: int) -> float:
    """Constant, then 0.1 ** ((e - d) / d) from epoch d on: d is 40 of 85 epochs, as released, whatever their number."""
    return min(1.0, 0.1 ** (step / total * 85 / 40 - 1))


MOVES = ("all", "late")
SHAPES: dict[str, Callable[[int, int], float]] = {"cosine": warm_up_and_cosine, "late": late_decay}


@dataclass(frozen=True)
class Schedule:
    """`epochs` x `iters_per_epoch` steps of Adam, its rate over time of a `shape` in SHAPES.

    Layers that are not of the backbone learn `new_layers` times as fast. Raises UsageError for an unknown shape or
    move, and for more epochs of perturbed images alone than there are.
    """

    epochs: int
    iters_per_epoch: int
    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    shape: str = "cosine"
    new_layers: float = 1.0
    ema: float = option(
        0.0,
        "validate, keep and save averaged weights: after each step this much of the average so far and the rest of the "
        "weights, so that it reaches back about 1 / (1 - DECAY) steps; 0: the weights themselves",
        type=decay,
        metavar="DECAY",
    )
    move: str = option(
        "all", "weights that training moves; late: the last quarter of the backbone, and all after it", choices=MOVES
    )
    only_perturbed: int = option(
        0,
        "perturb every image in the last EPOCHS epochs and show none clean (Madry et al., 2018), and keep a model of "
        "those; in all others every image is shown clean, and every second one perturbed too. Costs clean mAP for "
        "robustness to attacks on each image; not for none, trades",
        type=natural_int,
        metavar="EPOCHS",
    )
    start_share: float = option(
        0.0,
        "validate, keep and save SHARE times the weights of the start plus 1 - SHARE times those of training (Wortsman "
        "et al., CVPR 2022): more of what the start is good at, less of what training adds",
        type=decay,
        metavar="SHARE",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.only_perturbed <= self.epochs:
            raise UsageError(f"--only-perturbed {self.only_perturbed} is not from 0 to --epochs {self.epochs}")
        if self.shape not in SHAPES:
            raise UsageError(f"schedule {self.shape!r} is not one of {', '.join(SHAPES)}")
        if self.move not in MOVES:
            raise UsageError(f"move {self.move!r} is not one of {', '.join(MOVES)}")

    def every(self, epoch: int) -> int:
        """One image in how many of a batch is perturbed in an epoch (0-based): 2, or all, and none is clean."""
        return 1 if epoch >= self.epochs - self.only_perturbed else 2

    def lr_at(self, step: int) -> float:
        """Learning rate of the backbone at a step (0-based)."""
        return self.lr * SHAPES[self.shape](step, self.epochs * self.iters_per_epoch)
