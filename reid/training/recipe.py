"""How long and how hard to train: learning rates, loss, and the schedules of plain training and of the defence."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from reid.errors import UsageError
from reid.training.losses import hard_triplet, triplet_and_identity

LOSSES = ("triplet+ce", "triplet")


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


SCHEDULES: dict[str, Callable[[int, int], float]] = {"cosine": warm_up_and_cosine, "late": late_decay}


@dataclass(frozen=True)
class Recipe:
    """`epochs` x `iters_per_epoch` steps of Adam on hard triplet (+ cross-entropy).

    `schedule` is a key of SCHEDULES; layers that are not of the backbone learn `new_layers` times as fast.
    Raises UsageError for an unknown loss or schedule.
    """

    epochs: int
    iters_per_epoch: int
    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    margin: float = 0.3
    smoothing: float = 0.1
    schedule: str = "cosine"
    new_layers: float = 1.0
    loss: str = "triplet+ce"

    def __post_init__(self) -> None:
        if self.loss not in LOSSES or self.schedule not in SCHEDULES:
            raise UsageError(
                f"loss {self.loss!r} is not one of {', '.join(LOSSES)}, or schedule {self.schedule!r} not one of "
                f"{', '.join(SCHEDULES)}"
            )

    def lr_at(self, step: int) -> float:
        """Learning rate of the backbone at a step (0-based)."""
        return self.lr * SCHEDULES[self.schedule](step, self.epochs * self.iters_per_epoch)

    def loss_of(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, precision of the triplets) of features (N, D) and logits (N, C) with labels (N,)."""
        if self.loss == "triplet":
            return hard_triplet(features, labels, self.margin)
        return triplet_and_identity(features, logits, labels, self.margin, self.smoothing)
