"""Objectives that look at all identities of the training images, whose clean features they know."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, relu

from reid.attacks.base import Reference
from reid.attacks.universal.recipes import Objective, Recipe
from reid.runtime.device import send

SOFTNESS = 0.05  # of the mean distance: the width of the soft minimum over identities
MARGIN = 0.3  # of the mean distance
STRANGERS = 10


@dataclass(frozen=True)
class NearestIdentity(Recipe):
    """Minimised is the distance to the nearest other identity's centre, a soft minimum, less that to the own one."""

    def objective_on(self, reference: Reference) -> Objective:
        pids, centres = centres_of(reference)

        def loss(clean: Tensor, perturbed: Tensor, own: Tensor) -> Tensor:
            distances = torch.cdist(perturbed.float(), centres)
            same = send(own.cpu()[:, None] == pids, distances.device)
            width = SOFTNESS * distances.detach().mean()
            nearest = -width * torch.logsumexp((-distances / width).masked_fill(same, -torch.inf), dim=1)
            return (nearest - distances[same]).mean()

        return loss


@dataclass(frozen=True)
class Hinge(Recipe):
    """Minimised is how much nearer an image is to its own clean images than to the ten nearest strangers."""

    def objective_on(self, reference: Reference) -> Objective:
        def loss(clean: Tensor, perturbed: Tensor, own: Tensor) -> Tensor:
            distances = torch.cdist(perturbed.float(), reference.features)
            same = send(own.cpu()[:, None] == reference.pids.cpu(), distances.device)
            near = distances.masked_fill(same, torch.inf).topk(STRANGERS, largest=False).values.mean(dim=1)
            matches = (distances * same).sum(dim=1) / same.sum(dim=1)
            return relu(MARGIN * distances.detach().mean() + near - matches).mean()

        return loss


@dataclass(frozen=True)
class CentredCosine(Recipe):
    """Minimised is the cosine between a feature and its clean one, both less the mean of all clean features."""

    def objective_on(self, reference: Reference) -> Objective:
        middle = reference.features.mean(dim=0)

        def loss(clean: Tensor, perturbed: Tensor, own: Tensor) -> Tensor:
            return cosine_similarity(perturbed.float() - middle, clean.float() - middle, dim=1).mean()

        return loss


@dataclass(frozen=True)
class Collapse(Recipe):
    """Minimised is the spread of the perturbed features, as a share of that of the clean ones."""

    def objective_on(self, reference: Reference) -> Objective:
        spread = reference.features.var(dim=0).sum()

        def loss(clean: Tensor, perturbed: Tensor, own: Tensor) -> Tensor:
            return perturbed.float().var(dim=0).sum() / spread

        return loss


def centres_of(reference: Reference) -> tuple[Tensor, Tensor]:
    """The pids of a reference, sorted, on the CPU, and the mean of the features of each (I, D)."""
    pids, places = reference.pids.cpu().unique(return_inverse=True)
    sums = torch.zeros(len(pids), reference.features.shape[1], device=reference.features.device)
    sums.index_add_(0, send(places, sums.device), reference.features)
    return pids, sums / send(places.bincount(), sums.device)[:, None]


NEAREST, HINGE, COSINE, COLLAPSE = NearestIdentity(), Hinge(), CentredCosine(), Collapse()
