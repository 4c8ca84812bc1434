"""Recipes of universal attacks: what is minimised, with which optimiser, and how two sets work together."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from reid.attacks.base import Reference
from reid.attacks.universal.objectives import pull_farthest
from reid.attacks.universal.optimiser import MISGD
from reid.errors import UsageError
from reid.models.victim import Victim

META_MODES = ("maml", "alternating", "none")
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]  # clean features, perturbed features, pids -> scalar
Penalty = Callable[[Tensor], Tensor]  # perturbed images (N, 3, H, W) -> scalar, a mean over the images
Groups = list[dict[str, Any]]  # parameter groups of an optimiser, each with its step "lr"


@dataclass(frozen=True)
class Recipe:
    """`objective` is minimised; `meta` is maml, alternating or none (see `meta_step`).

    `optimizer` makes one from parameter groups, whose steps are `fraction` of each component's budget, times
    exp(-`decay`) per epoch. A subclass whose objective looks at the whole set overrides `objective_on`. `penalty` of
    the perturbed images is added where there is one. One that does not need gradients of the victim says in `seen` how
    it does without. Iterates are chosen by mAP plus `price_of_shared` times the share of the first images that two
    queries have in common. Raises UsageError for an unknown meta mode.
    """

    objective: Objective = pull_farthest
    meta: str = "none"
    optimizer: Callable[[Groups], torch.optim.Optimizer] = MISGD
    fraction: float = 0.1
    decay: float = 0.01
    penalty: Penalty | None = None
    price_of_shared: float = 0.0
    needs_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.meta not in META_MODES:
            raise UsageError(f"meta mode {self.meta!r} is not one of {', '.join(META_MODES)}")

    @property
    def needs_virtual(self) -> bool:
        """Whether there must be a virtual set to meta-test on."""
        return self.meta != "none"

    @property
    def chosen_by(self) -> str:
        """What iterates are chosen by, in words."""
        return f"mAP + {self.price_of_shared:g} x shared" if self.price_of_shared else "mAP"

    def objective_on(self, reference: Reference, side: str = "query") -> Objective:
        """The objective for batches of a set, given the clean features of all its images that are drawn, and the side
        of retrieval that is attacked."""
        return self.objective

    def seen(self, victim: Victim, epoch: int) -> Callable[[Tensor], Tensor]:
        """What the attacker has of the victim in an epoch: images to features, with gradients of some kind."""
        return victim

    def scale_at(self, epoch: int) -> float:
        """Factor on the step size in an epoch (0-based)."""
        return math.exp(-self.decay * epoch)


MAML = Recipe(meta="maml")
ALTERNATING = Recipe(meta="alternating")
PLAIN = Recipe()
