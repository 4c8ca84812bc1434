"""Smooth average precision (Brown et al., ECCV 2020), turned against the ranking."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import Reference
from reid.attacks.universal.ranking import RankingRecipe, matches
from reid.runtime.device import send


@dataclass(frozen=True)
class SmoothAP(RankingRecipe):
    """Minimised is average precision, in which a sigmoid of the difference of two distances says which comes first.

    The sigmoid is `sharpness` of the query's mean distance wide.
    """

    sharpness: float = 0.01

    def ranked(self, queries: Tensor, pids: Tensor, gallery: Reference) -> Tensor:
        same = matches(pids, gallery.pids)
        most = int(same.sum(dim=1).max())
        distances = torch.cdist(queries, gallery.features)
        own = send(same, distances.device).float()
        present, places = own.topk(most, dim=1)
        width = self.sharpness * distances.detach().mean(dim=1)[:, None, None]
        before = torch.sigmoid((distances.gather(1, places)[:, :, None] - distances[:, None]) / width)
        before = before.scatter(2, places[:, :, None], 0.0)  # an image does not come before itself
        precision = (1 + (before * own[:, None]).sum(dim=2)) / (1 + before.sum(dim=2))
        return ((precision * present).sum(dim=1) / present.sum(dim=1)).mean()


SMOOTH_AP = SmoothAP()
