"""Adversarial training on one set."""

from dataclasses import dataclass

from reid.training.defense import Defense


@dataclass(frozen=True)
class Adversarial(Defense):
    """The re-ID loss on clean and perturbed images of the source."""

    needs_adversary = True
    needs_clean = False
