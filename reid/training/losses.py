"""Losses of re-ID training: batch-hard triplet (Hermans et al., 2017) and its cross-entropy companion."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, margin_ranking_loss

from reid.errors import UsageError
from reid.training import LOSSES


@dataclass(frozen=True)
class ReidLoss:
    """The loss of re-ID training: a `kind` in LOSSES, the margin of the triplets, the smoothing of the labels.

    With `relative` the margin is in units of the spread of the features in the batch: else a network whose triplets are
    all wrong, as under attack, lowers them by making all features alike. Raises UsageError for an unknown kind.
    """

    kind: str = "triplet+ce"
    margin: float = 0.3
    smoothing: float = 0.1
    relative: bool = False

    def __post_init__(self) -> None:
        if self.kind not in LOSSES:
            raise UsageError(f"loss {self.kind!r} is not one of {', '.join(LOSSES)}")

    def __call__(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, precision of the triplets) of features (N, D) and logits (N, C) with labels (N,)."""
        if self.relative:
            least = 1e-4 * features.float().square().sum(1).mean()  # or the gradient of all alike has no bound
            features = features / torch.maximum(_spread(features), least).sqrt()
        loss, precision = hard_triplet(features, labels, self.margin)
        if self.kind == "triplet+ce":
            loss = loss + cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)
        return loss, precision


def hard_triplet(features: Tensor, pids: Tensor, margin: float = 0.5) -> tuple[Tensor, Tensor]:
    """Batch-hard triplet loss: for each sample its farthest positive and its nearest negative in the batch.

    features (N, D), pids (N,). Returns the mean hinge loss, and the share of anchors whose nearest negative is
    farther than the farthest positive (precision, in [0, 1]). Every pid needs company and an opponent in the batch.
    """
    distances = _euclidean(features.float())
    same = pids[:, None] == pids[None, :]
    farthest_positive = distances.masked_fill(~same, float("-inf")).amax(1)
    nearest_negative = distances.masked_fill(same, float("inf")).amin(1)
    loss = margin_ranking_loss(nearest_negative, farthest_positive, torch.ones_like(nearest_negative), margin=margin)
    return loss, (nearest_negative > farthest_positive).float().mean()


def drift(features: Tensor, targets: Tensor, population: Tensor) -> Tensor:
    """Mean squared distance of features (N, D) to their targets (N, D), as a share of the mean squared distance of a
    population (M, D) to its middle: the same for features of any scale. The gradient counts the population too: else
    a network would lower this by shrinking all of its features."""
    return (features.float() - targets.float()).square().sum(1).mean() / _spread(population)


def nearest_centroid(features: Tensor, labels: Tensor, centroids: Tensor, width: float) -> Tensor:
    """Cross-entropy of features (N, D), with labels (N,), where a class is the more likely the nearer its centroid
    (C, D): softmax of minus squared distances, in units of `width` times the centroids' mean squared distance to their
    middle."""
    squared = torch.cdist(features.float(), centroids, compute_mode="donot_use_mm_for_euclid_dist").square()
    return cross_entropy(-squared / (width * _spread(centroids)), labels)


def _spread(features: Tensor) -> Tensor:
    """The mean squared distance of features (N, D) to their middle."""
    features = features.float()
    return (features - features.mean(0)).square().sum(1).mean().clamp(min=1e-12)


def _euclidean(features: Tensor) -> Tensor:
    """Pairwise distances (N, N), bounded away from zero for the gradient."""
    features = features - features.detach().mean(0)  # where all are close together, the product keeps their differences
    squared = features.pow(2).sum(1)
    return (squared[:, None] + squared[None, :] - 2 * features @ features.T).clamp(min=1e-12).sqrt()
