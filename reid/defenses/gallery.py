"""Adversarial training against who knows the gallery."""

from dataclasses import dataclass

from reid.defenses.ahead import MaybeAhead


@dataclass(frozen=True)
class Gallery(MaybeAhead):
    """The re-ID loss on clean and perturbed images. Attacks in training lower the smooth average precision of each
    image, with the clean images of the batch as the gallery."""

    needs_clean = False
    attack_objective = "smooth_ap"
