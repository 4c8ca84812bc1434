"""Toward the nearest other identity, but not all people toward the same: what betrays the attack is kept low."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import Reference
from reid.attacks.universal.nearest import NearestIdentity
from reid.attacks.universal.ranking import matches
from reid.runtime.device import send


@dataclass(frozen=True)
class Scattered(NearestIdentity):
    """Added is how much two people's lists share, made smooth: `weight` of the mean distance if they are the same.

    A query is shared out among all images of the gallery, by a softmax of minus its distances that is `width` of the
    mean one wide; two queries share what both give to the same images, as a cosine: 1 if all is the same. Steps are
    shorter than those of other rankings, as the two parts pull in different directions.
    """

    fraction: float = 0.25
    price_of_shared: float = 10.0
    weight: float = 3.0
    width: float = 0.05

    def ranked(self, queries: Tensor, pids: Tensor, gallery: Reference) -> Tensor:
        distances = torch.cdist(queries, gallery.features)
        middle = distances.detach().mean()
        shares = torch.nn.functional.normalize((-distances / (self.width * middle)).softmax(dim=1))
        strangers = ~matches(pids, pids)
        common = (shares @ shares.T * send(strangers, shares.device)).sum() / strangers.sum()
        return super().ranked(queries, pids, gallery) + self.weight * middle * common


SCATTERED = Scattered()
