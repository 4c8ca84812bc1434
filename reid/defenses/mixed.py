"""Adversarial training on two sets, both losses at the same weights: what meta-learning has to beat."""

from dataclasses import dataclass

from reid.training.defense import Defense


@dataclass(frozen=True)
class Mixed(Defense):
    """The re-ID loss on clean and perturbed images of the source, plus that on those of the virtual set."""

    needs_virtual = True
    needs_adversary = True
    needs_clean = False
