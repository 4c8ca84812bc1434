"""With identities: features stay nearest to where the model had their own one before training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reid.defenses.fare import Fare

if TYPE_CHECKING:
    from torch import Tensor

    from reid.training.batches import TrainingBatch
    from reid.training.view import View

WIDTH = 0.1


@dataclass(frozen=True)
class Anchored(Fare):
    """The cross-entropy of all features to the start model's centroids, and what `fare` minimises. Attacks in training
    go toward the nearest other one of these centroids."""

    needs_labels = True
    needs_centroids = True
    attack_objective = "nearest"

    def loss(self, network: View, batch: TrainingBatch) -> tuple[Tensor, Tensor | None]:
        from reid.training.losses import nearest_centroid

        outputs = network.outputs(batch)
        classified = nearest_centroid(outputs.features, outputs.labels, network.centroids(batch), WIDTH)
        return classified + self.pull(network, outputs), None
