"""QueryUAP (PRCV 2022; HWliiu/QueryUAPReidAttack @ aff2954): one perturbation for all, by a model's answers alone.

Published, delta 10/255 on queries of Market-1501: mAP of five models down to 15, 7, 3, 16 and 25, with about a million
calls. There the cosine with the clean feature is minimised, by differences at single pixels of the person; here the
distance to the nearest other identity less that to the own one, by differences along squares.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from reid.attacks.universal.answers import Answers
from reid.attacks.universal.nearest import NearestIdentity
from reid.attacks.universal.optimiser import MISGD
from reid.attacks.universal.recipes import Groups
from reid.models.victim import Victim
from reid.runtime.seeds import generator

PATIENT = partial(MISGD, momentum=0.97)  # one estimate says little; what stays is what those of an epoch agree on


@dataclass(frozen=True)
class QueryUAP(NearestIdentity):
    """A step takes 1 + 2 x `directions` calls for each image: see `Answers`. What is drawn depends on the epoch alone,
    so that a resumed run is exact."""

    optimizer: Callable[[Groups], Any] = PATIENT
    directions: int = 2
    reach: float = 4 / 255
    across: int = 8
    needs_gradients: ClassVar[bool] = False

    def seen(self, victim: Victim, epoch: int) -> Callable[[Tensor], Tensor]:
        how = (self.reach, self.directions, self.across, generator(epoch))

        def answers(images: Tensor) -> Tensor:
            features: Tensor = Answers.apply(images, victim, *how)
            return features

        return answers


QUERY_UAP = QueryUAP()
