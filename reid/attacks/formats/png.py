"""Additive images as PNG pictures: grey level 128 + 127 d / eps for a value d, so 128 is no change."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid.attacks.formats.base import Format
from reid.attacks.threat import format_budget
from reid.attacks.universal.perturbations import Perturbation
from reid.errors import CheckpointError, UsageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MIDDLE, STEPS = 128, 127  # the level of no change, and how many there are from it to eps
LARGEST = 4096  # pixels along a side
RGB_8 = (8, 2)  # bits per channel and kind of colours, as a PNG file says them


def is_png(path: Path) -> bool:
    """Whether a file starts as a PNG picture does."""
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def read(path: Path, eps: float | None) -> Tensor:
    """The additive image (1, 3, H, W), in image units, of a picture in units of `eps`.

    Raises UsageError where `eps` is not given, or 0; CheckpointError for a picture that is not RGB with 8 bits.
    """
    _check_header(path)
    if not eps:
        problem = f"{path} holds a perturbation in units of its budget, which a picture does not say"
        remedy = "give it as --eps 8/255, or make an attacker file of it: python -m reid.attacks.convert"
        raise UsageError(f"{problem}; {remedy}" if eps is None else f"{path}: a budget of 0 is no unit; {remedy}")
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            levels = torch.from_numpy(np.array(picture)).float()
    except Exception as error:  # a damaged file makes Pillow's decoders raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise CheckpointError(f"{path} is a PNG picture, but damaged ({reason}); download or save it again") from error
    fractions = (levels.permute(2, 0, 1)[None] - MIDDLE) / STEPS
    return fractions.clamp(-1, 1) * eps  # level 0, which another program may write, is that of -eps


def _check_header(path: Path) -> None:
    with open(path, "rb") as file:
        header = file.read(26)
    width, height = (int.from_bytes(header[at : at + 4], "big") for at in (16, 20))
    if len(header) == 26 and (*header[24:],) != RGB_8:
        raise CheckpointError(f"{path} is a PNG picture, but not RGB with 8 bits per channel; save it as that")
    if max(width, height) > LARGEST:
        raise CheckpointError(f"{path} is a PNG picture of {height} x {width}; up to {LARGEST} x {LARGEST} is read")


def _write(path: Path, noise: Perturbation) -> str:
    delta, eps = noise.get_parameter("delta").detach()[0], noise.threat.eps_delta
    if not eps:
        raise UsageError("a PNG picture is in units of the budget, and this one is 0; choose another --to")
    levels = (delta.double() / eps * STEPS).round()
    moved = (levels / STEPS * eps - delta).abs().max().item()
    with open(path, "wb") as file:
        pixels = (levels + MIDDLE).byte().permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(file, format="PNG")
    height, width = delta.shape[1:]
    steps = f"{STEPS} steps to {format_budget(eps)} on each side of grey {MIDDLE}"
    return f"the additive image, {height} x {width}, in {steps}: no value moved by more than {format_budget(moved)}"


PNG = Format(_write, "delta")
