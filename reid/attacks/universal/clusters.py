"""Clusters of clean features: what published attacks that know no identities learn on."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import triplet_margin_loss

from reid.attacks.base import Reference
from reid.attacks.universal.recipes import Objective, Recipe

ROUNDS = 20
IMAGES_PER_CLUSTER = 4  # on average and at least, where there are few images


@dataclass(frozen=True)
class ClusterRecipe(Recipe):
    """`weight` times a triplet loss that pulls each image from the nearest of `clusters` to the farthest one; features
    are multiplied by `stretch`. With `labelled`, what a classifier by nearest centre would lose by is added.

    An image's clusters are those of its clean feature. The classifier's scores are minus the distances.
    """

    clusters: int = 512
    margin: float = 0.5
    weight: float = 1.0
    stretch: float = 1.0
    labelled: bool = False

    def objective_on(self, reference: Reference, side: str = "query") -> Objective:
        count = max(2, min(self.clusters, len(reference.features) // IMAGES_PER_CLUSTER))
        centres = k_means(reference.features, count)

        def loss(clean: Tensor, perturbed: Tensor, pids: Tensor) -> Tensor:
            perturbed, distances = perturbed.float(), torch.cdist(clean.float(), centres)
            near, far = distances.argmin(dim=1), distances.argmax(dim=1)
            anchor, toward, away = (self.stretch * each for each in (perturbed, centres[far], centres[near]))
            pair = self.weight * triplet_margin_loss(anchor, toward, away, margin=self.margin)
            return pair + self._label(-torch.cdist(perturbed, centres), near) if self.labelled else pair

        return loss

    @staticmethod
    def _label(scores: Tensor, own: Tensor) -> Tensor:
        """How much higher an image scores as its own cluster than as any other, where it does."""
        others = scores.scatter(1, own[:, None], -torch.inf).amax(dim=1)
        return (scores.gather(1, own[:, None])[:, 0] - others).relu().mean()


def k_means(features: Tensor, clusters: int) -> Tensor:
    """Centres (clusters, D) of features (N, D) after ROUNDS rounds of Lloyd's algorithm, begun at features at equal
    distances in their order: nothing is drawn. A centre that is nobody's nearest stays where it is."""
    centres = features[torch.arange(clusters, device=features.device) * len(features) // clusters].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(features, centres).argmin(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, features)
        counts = nearest.bincount(minlength=clusters)[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres
