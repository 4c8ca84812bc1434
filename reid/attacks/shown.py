"""What a perturbation does, as images for people to look at."""

import torch
from torch import Tensor

from reid.attacks.universal.perturbations import NODES, Perturbation

MAGNIFIED = 8
SLICES = 5  # of constant blue


def magnified_difference(images: Tensor, perturbed: Tensor) -> Tensor:
    """The change times 8 around mid-grey, clipped to [0, 1]; images and perturbed (N, 3, H, W)."""
    return (0.5 + MAGNIFIED * (perturbed - images)).clamp(0, 1)


def colour_slices(noise: Perturbation) -> tuple[Tensor, Tensor] | None:
    """The colours of five slices of constant blue, from 0 to 1, red down and green across, and what the colour table
    does to them, as `magnified_difference`: (5, 3, 25, 25) each; None where there is no table."""
    tables = [layer for layer in noise.layers() if layer.component == "color"]
    if not tables:
        return None
    device = tables[0].boxes()["xform.xform_params"].lower.device
    levels, blues = torch.linspace(0, 1, NODES, device=device), torch.linspace(0, 1, SLICES, device=device)
    colours = torch.stack(torch.meshgrid(levels, levels, blues, indexing="ij")).permute(3, 0, 1, 2)
    with torch.no_grad():
        return colours, magnified_difference(colours, tables[0](colours))
