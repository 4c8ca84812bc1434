"""MUAP (Ding et al., TIFS 2021; wenjie710/MUAP @ 793badc): average precision by histograms, and smooth images.

Published, by HWliiu/QueryUAPReidAttack, by transfer, delta 10/255 on queries of Market-1501: mAP ABD-Net 87 -> 37,
AGW 88 -> 41, OSNet 83 -> 30. There the perturbation is also stretched once to reach its budget.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid.attacks.universal.optimiser import MISGD
from reid.attacks.universal.recipes import Recipe

BINS = 5  # over the distances of features of length 1, which are in [0, 2]
SMOOTHNESS = 10.0


def histogram_ap(clean: Tensor, perturbed: Tensor, pids: Tensor) -> Tensor:
    """The average precision of perturbed features (N, D) among the clean ones of a batch, ranked by bins of distance.

    A distance counts in the two bins around it, by how near it is to each (Cakir et al., CVPR 2019).
    """
    distances = torch.cdist(normalize(perturbed.float()), normalize(clean.float()))
    centres = torch.linspace(0, 2, BINS, device=distances.device)
    share = (1 - (distances[:, :, None] - centres).abs() / (2 / (BINS - 1))).relu()
    own = (pids[:, None] == pids).to(distances.device)[:, :, None]
    found, found_own = share.sum(dim=1), (share * own).sum(dim=1)
    precision = found_own.cumsum(dim=1) / found.cumsum(dim=1).clamp(min=torch.finfo(found.dtype).tiny)
    return (found_own * precision).sum(dim=1).div(own.sum(dim=(1, 2))).mean()


def total_variation(images: Tensor) -> Tensor:
    """SMOOTHNESS times the mean absolute difference of neighbouring pixels, downwards and across."""
    down, across = (images.diff(dim=dim).abs().mean() for dim in (2, 3))
    return SMOOTHNESS * (down + across)


MUAP = Recipe(histogram_ap, optimizer=partial(MISGD, momentum=0.4), penalty=total_variation)
