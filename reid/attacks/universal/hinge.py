"""Toward the nearest strangers, until they are nearer than the person by a margin."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu

from reid.attacks.base import Reference
from reid.attacks.universal.ranking import RankingRecipe, matches
from reid.runtime.device import send


@dataclass(frozen=True)
class Hinge(RankingRecipe):
    """Minimised is the mean distance to the nearest `strangers` less that to the own images, plus `margin` of the mean
    distance, and never below zero."""

    strangers: int = 10
    margin: float = 0.3

    def ranked(self, queries: Tensor, pids: Tensor, gallery: Reference) -> Tensor:
        same = matches(pids, gallery.pids)
        count = min(self.strangers, int((~same).sum(dim=1).min()))
        distances = torch.cdist(queries, gallery.features)
        own = send(same, distances.device)
        near = distances.masked_fill(own, torch.inf).topk(count, largest=False).values.mean(dim=1)
        far = (distances * own).sum(dim=1) / own.sum(dim=1)
        return relu(self.margin * distances.detach().mean() + near - far).mean()


HINGE = Hinge()
