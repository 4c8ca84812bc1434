"""Turn the feature of each image away from its clean one, as seen from the middle of the training images."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cosine_similarity

from reid.attacks.base import AttackBatch
from reid.attacks.image.adaptive import Adaptive


@dataclass(frozen=True)
class CentredCosine(Adaptive):
    """The objective is minus the cosine between a feature and its clean one, both less the mean of the training
    features. It knows the model and training images."""

    needs = frozenset({"gradients", "training"})

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        assert batch.training is not None
        middle = batch.training.middle
        return -cosine_similarity(features - middle, clean - middle, dim=1)
