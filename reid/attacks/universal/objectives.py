"""What an attack minimises: functions of clean features, perturbed features and identities."""

import torch
from torch import Tensor
from torch.nn.functional import triplet_margin_loss

from reid.errors import UsageError
from reid.runtime.device import send


def pull_farthest(
    features: Tensor, perturbed_features: Tensor, pids: Tensor, margin: float = 0.5, weight: float = 10.0
) -> Tensor:
    """The meta attack's objective: turn each image's neighbourhood inside out.

    For each image, the farthest negative and the farthest positive of its *clean* feature are found in the
    batch. The perturbed feature is pulled toward the former and pushed away from the latter: `weight` times a
    triplet loss with Euclidean distances, averaged over the batch.

    features, perturbed_features (N, D); pids (N,), best on the CPU: a GPU need not be waited for to look at them.
    Returns a scalar >= 0. No gradient flows into `features`.
    Raises UsageError when the batch has fewer than two identities.
    """
    same = pids[:, None] == pids[None, :]
    if same.all():
        raise UsageError("the attack objective needs two identities in a batch; use larger batches")
    features = features.detach().float()
    same = send(same, features.device)
    # Not by a matrix product, which loses the differences of features that lie close together.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    farthest_negative = features[distances.masked_fill(same, -1).argmax(1)]
    farthest_positive = features[distances.masked_fill(~same, -1).argmax(1)]
    anchor = perturbed_features.float()
    return weight * triplet_margin_loss(anchor, farthest_negative, farthest_positive, margin=margin)
