"""Average precision that has a gradient (Smooth-AP; Brown et al., ECCV 2020)."""

import torch
from torch import Tensor


def smooth_average_precision(similar: Tensor, match: Tensor, counted: Tensor, sharpness: float) -> Tensor:
    """Of each query (N,), from minus its distances to a gallery (N, G), which images match, and which count.

    Which of two images comes first is said by a sigmoid of the difference of their distances, `sharpness` of the
    query's mean distance wide. A query without a match has 0.
    """
    width = sharpness * similar.detach().abs().mean(dim=1)[:, None, None]
    present, places = match.float().topk(int(match.sum(dim=1).max().clamp(min=1)), dim=1)
    own = similar.gather(1, places)
    before = torch.sigmoid((similar[:, None] - own[:, :, None]) / width) * counted[:, None]
    before = before.scatter(2, places[:, :, None], 0.0)  # an image does not come before itself
    rank, correct = 1 + before.sum(dim=2), 1 + (before * match[:, None]).sum(dim=2)
    return (correct / rank * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
