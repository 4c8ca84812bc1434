"""Objectives of the ranking itself: by which features, clean or perturbed, who is found among whom."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from reid.attacks.base import Reference
from reid.attacks.universal.optimiser import MISGD
from reid.attacks.universal.recipes import Groups, Objective, Recipe

BOLD = partial(MISGD, momentum=0.5)


@dataclass(frozen=True)
class RankingRecipe(Recipe):
    """A recipe that looks for queries in a gallery. Which of them are perturbed is up to the side that is attacked.

    On the query side, the gallery are the clean images of the whole set; else it is the batch, perturbed.
    """

    optimizer: Callable[[Groups], Any] = BOLD
    fraction: float = 1.0

    @abstractmethod
    def ranked(self, queries: Tensor, pids: Tensor, gallery: Reference) -> Tensor:
        """What is minimised: of features (N, D) with their pids (N,), on the CPU, and a gallery that holds each pid."""

    def objective_on(self, reference: Reference, side: str = "query") -> Objective:
        def loss(clean: Tensor, perturbed: Tensor, pids: Tensor) -> Tensor:
            perturbed = perturbed.float()
            gallery = reference if side == "query" else Reference(perturbed, pids, pids)
            return self.ranked(clean if side == "gallery" else perturbed, pids, gallery)

        return loss


def matches(pids: Tensor, known: Tensor) -> Tensor:
    """Which of the pids (G,) are which of the pids (N,): (N, G), on the CPU, where nobody waits for a GPU."""
    return pids.cpu()[:, None] == known.cpu()
