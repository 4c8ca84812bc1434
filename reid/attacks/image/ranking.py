"""Attacks on the ranking itself: they know the clean features and identities of the other side."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import AttackBatch
from reid.attacks.image.adaptive import Adaptive
from reid.attacks.smooth import smooth_average_precision
from reid.runtime.device import send

SHARPNESS = 0.01  # of the mean distance: over which two distances count as unequal
STRANGERS = 10


@dataclass(frozen=True)
class SmoothAP(Adaptive):
    """The objective is minus a smooth average precision, by Euclidean distances."""

    needs = frozenset({"gradients", "labels", "reference"})

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        return -smooth_average_precision(*compared(features, batch), SHARPNESS)


@dataclass(frozen=True)
class Margin(Adaptive):
    """The objective is how much farther its matches are, on average, than the ten nearest strangers."""

    needs = frozenset({"gradients", "labels", "reference"})

    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        return margin(features, batch)


def margin(features: Tensor, batch: AttackBatch) -> Tensor:
    """How much farther from the features (N, D) their matches are, on average, than the nearest strangers (N,)."""
    similar, match, counted = compared(features, batch)
    order = similar.masked_fill(match | ~counted, -torch.inf).topk(min(STRANGERS, similar.shape[1]), dim=1)
    present = order.values.isfinite()
    strangers = torch.where(present, order.values, 0.0).sum(dim=1) / present.sum(dim=1).clamp(min=1)
    return strangers - (similar * match).sum(dim=1) / match.sum(dim=1).clamp(min=1)


def compared(features: Tensor, batch: AttackBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Minus the distances to the reference (N, G), which of them match, and which count, as in the evaluation."""
    assert batch.reference is not None
    assert batch.pids is not None
    other = batch.reference
    same = batch.pids[:, None] == other.pids
    here = torch.zeros_like(same) if batch.camids is None else batch.camids[:, None] == other.camids
    counted = ~(same & here) & (other.pids != -1)
    match, counted = send(same & counted, features.device), send(counted, features.device)
    return -torch.cdist(features, other.features), match, counted
