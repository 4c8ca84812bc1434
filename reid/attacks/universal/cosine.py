"""Away from the clean feature, as an angle seen from the middle of all: features lie in a narrow cone."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cosine_similarity

from reid.attacks.base import Reference
from reid.attacks.universal.ranking import BOLD
from reid.attacks.universal.recipes import Objective, Recipe


@dataclass(frozen=True)
class CentredCosine(Recipe):
    """Minimised is the cosine between a feature and its clean one, both less the mean of all clean features."""

    def objective_on(self, reference: Reference, side: str = "query") -> Objective:
        middle = reference.middle

        def loss(clean: Tensor, perturbed: Tensor, pids: Tensor) -> Tensor:
            return cosine_similarity(perturbed.float() - middle, clean.float() - middle, dim=1).mean()

        return loss


COSINE = CentredCosine(optimizer=BOLD, fraction=1.0)
