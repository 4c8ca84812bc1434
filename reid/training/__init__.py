"""The trainer that all defences share: sets, batches, losses, adversaries, the step of the weights, selection."""

from typing import TYPE_CHECKING

from reid.runtime.registry import lazy_exports

if TYPE_CHECKING:
    from reid.training.batches import TrainingSet
    from reid.training.losses import ReidLoss
    from reid.training.schedule import Schedule
    from reid.training.trainer import Selection, Trainer

LOSSES = ("triplet+ce", "triplet")
BATCH_NORMS = ("auto", "eval", "live")
BEST_FILE = "model_best.pth"

__all__ = ["BATCH_NORMS", "BEST_FILE", "LOSSES", "ReidLoss", "Schedule", "Selection", "Trainer", "TrainingSet"]
__getattr__ = lazy_exports(
    __name__,
    {
        "ReidLoss": "reid.training.losses:ReidLoss",
        "Schedule": "reid.training.schedule:Schedule",
        "Selection": "reid.training.trainer:Selection",
        "Trainer": "reid.training.trainer:Trainer",
        "TrainingSet": "reid.training.batches:TrainingSet",
        "device": "reid.runtime.device",  # where it was at first, for code that was written for that
    },
)
