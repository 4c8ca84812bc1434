"""No defence: ordinary training, and the fine-tuning that every defence has to beat."""

from dataclasses import dataclass

from reid.training.defense import Defense


@dataclass(frozen=True)
class NoDefense(Defense):
    """The re-ID loss on clean images of the source."""
