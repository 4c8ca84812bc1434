"""Smooth average precision, turned against the ranking."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import Reference
from reid.attacks.smooth import smooth_average_precision
from reid.attacks.universal.ranking import RankingRecipe, matches
from reid.runtime.device import send


@dataclass(frozen=True)
class SmoothAP(RankingRecipe):
    """Minimised is smooth average precision, with a sigmoid that is `sharpness` of the query's mean distance wide."""

    sharpness: float = 0.01

    def ranked(self, queries: Tensor, pids: Tensor, gallery: Reference) -> Tensor:
        similar = -torch.cdist(queries, gallery.features)
        own = send(matches(pids, gallery.pids), similar.device)
        return smooth_average_precision(similar, own, torch.ones_like(own), self.sharpness).mean()


SMOOTH_AP = SmoothAP()
