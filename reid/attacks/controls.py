"""Controls: the whole budget spent at random. An attack that does not beat them has learnt nothing."""

import torch

from reid.attacks.threat import Threat
from reid.attacks.universal.perturbations import ColorLUT, Delta, Perturbation, Sequence
from reid.runtime.seeds import for_torch


def random_sign(threat: Threat, seed: int, height: int = 256, width: int = 128) -> Perturbation:
    """Noise type 2: every value of delta at plus or minus its budget, by a fair coin."""
    return _at_border(Delta(threat, height, width), seed)


def random_lut(threat: Threat, seed: int) -> Perturbation:
    """Noise type 1: every table entry at plus or minus its budget (cut at 0 and 1), by a fair coin."""
    return _at_border(ColorLUT(threat), seed)


def random_both(threat: Threat, seed: int, height: int = 256, width: int = 128) -> Perturbation:
    """Noise type 0: a random table, then a random delta."""
    return _at_border(Sequence(threat, height, width), seed)


@torch.no_grad()
def _at_border(noise: Perturbation, seed: int) -> Perturbation:
    generator = torch.Generator().manual_seed(for_torch(seed))
    boxes = noise.boxes()
    for name, parameter in noise.named_parameters():
        coin = torch.rand(parameter.shape, generator=generator) < 0.5
        parameter.copy_(torch.where(coin, boxes[name].lower, boxes[name].upper))
    noise.kind = "control"
    return noise
