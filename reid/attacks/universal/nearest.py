"""Toward the nearest other identity: with the cosine the strongest objective on models that withstand others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import Reference
from reid.attacks.universal.ranking import RankingRecipe, matches
from reid.runtime.device import send


@dataclass(frozen=True)
class NearestIdentity(RankingRecipe):
    """Minimised is the distance to the nearest other identity's centre less that to the own one.

    The minimum is a soft one over all other identities, `softness` of the mean distance wide.
    """

    softness: float = 0.05

    def ranked(self, queries: Tensor, pids: Tensor, gallery: Reference) -> Tensor:
        known, centres = gallery.centres
        distances = torch.cdist(queries, centres)
        own = send(matches(pids, known), distances.device)
        width = self.softness * distances.detach().mean()
        nearest = -width * torch.logsumexp((-distances / width).masked_fill(own, -torch.inf), dim=1)
        return (nearest - (distances * own).sum(dim=1)).mean()


NEAREST = NearestIdentity()
