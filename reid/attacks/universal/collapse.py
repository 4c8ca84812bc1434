"""All features to one point, where nobody can be told from anybody."""

from dataclasses import dataclass

from torch import Tensor

from reid.attacks.base import Reference
from reid.attacks.universal.ranking import BOLD
from reid.attacks.universal.recipes import Objective, Recipe


@dataclass(frozen=True)
class Collapse(Recipe):
    """Minimised is the spread of the perturbed features of a batch, as a share of that of all clean ones."""

    def objective_on(self, reference: Reference, side: str = "query") -> Objective:
        spread = reference.features.var(dim=0).sum()

        def loss(clean: Tensor, perturbed: Tensor, pids: Tensor) -> Tensor:
            return perturbed.float().var(dim=0).sum() / spread

        return loss


COLLAPSE = Collapse(optimizer=BOLD, fraction=1.0)
