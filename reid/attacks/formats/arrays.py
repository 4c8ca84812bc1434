"""Additive images as plain arrays, of numpy or torch: read where order and unit are certain, and written."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid.attacks.formats import UNITS
from reid.attacks.formats.base import Format
from reid.attacks.universal.perturbations import Perturbation
from reid.errors import CheckpointError, UsageError
from reid.models.readings import IMAGENET_STD
from reid.runtime.registry import unknown
from reid.runtime.torchfiles import write_torch

NAMES = ("delta", "perturbation", "noise", "uap", "v", "arr_0")  # arr_0 is numpy's, where nobody gave one

logger = logging.getLogger(__name__)


def additive_image(content: Any, path: Path, unit: str | None = None, eps: float | None = None) -> Tensor | None:
    """The additive image (1, 3, H, W), in image units, in an array or a mapping that has one, under one of NAMES.

    `unit` is one of UNITS, None: by the values. None where there is no such array. Raises CheckpointError where shape,
    order or unit are not certain, UsageError for an unknown unit, and for "eps" where `eps` is not given.
    """
    name, array = "the array", content
    if isinstance(content, Mapping):
        arrays = {key: value for key, value in content.items() if getattr(value, "ndim", 0) > 2}
        if len(arrays) != 1 or str(*arrays).lower() not in NAMES:
            return None
        ((name, array),) = arrays.items()
    if isinstance(array, np.ndarray) and array.dtype.kind in "iufb":
        array = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    if not isinstance(array, Tensor) or array.is_complex():
        return None
    image, channels_last = _channels_first(array.detach(), f"{path} is not a perturbation file: {name}")
    unit = unit or _unit_of(image, f"{path}: {name}")
    values = (image.double() * _scale(unit, eps)).float()
    order = "last" if channels_last else "first"
    logger.info("%s is taken with the channels %s, in %s", path, order, UNITS[unit])
    return values[None]


def _channels_first(array: Tensor, what: str) -> tuple[Tensor, bool]:
    """The image (3, H, W) of one, or of a batch with the same for each, and whether the channels were last."""
    shape = [*array.shape]
    while array.ndim > 3 and (len(array) == 1 or (len(array) > 1 and bool((array == array[:1]).all()))):
        array = array[0]
    if array.ndim > 3 and array.numel():
        raise CheckpointError(f"{what} is {shape}, several different images; save the one that is wanted, (3, H, W)")
    first, last = array.shape[:1] == (3,), array.shape[2:] == (3,)
    if array.ndim != 3 or first == last or not array.numel():
        raise CheckpointError(f"{what} is {shape}, not (3, H, W) or (H, W, 3); save it in that order, RGB")
    return (array if first else array.permute(2, 0, 1)), last


def _unit_of(array: Tensor, what: str) -> str:
    """ "image" or "grey", where the values leave no doubt.

    What adds and takes away up to half the range is in image units. Grey levels are whole numbers from 2 up, or larger
    than any image that was normalised; values of one sign may have an offset in them, or be an image.
    """
    values = array.double()
    low, high = (value.item() for value in values.aminmax())
    largest, whole = max(-low, high), bool((values == values.round()).all())
    if array.is_floating_point() and largest <= (0.5 if low >= 0 or whole else 1):
        return "image"
    if low < 0 and (2 if whole else 3) <= largest <= 255:
        return "grey"
    seen = f"{what} holds {str(array.dtype).removeprefix('torch.')} in [{low:.4g}, {high:.4g}]"
    if not largest < torch.inf:
        raise CheckpointError(f"{seen}: no finite numbers in image units, [0, 1]; learn or download it again")
    remedy = "take an offset off, divide by 255 what is in grey levels, and save floats in image units, [0, 1]"
    raise CheckpointError(f"{seen}, of which the unit is not certain; {remedy}")


def _scale(unit: str, eps: float | None) -> Tensor:
    """By what values of this unit are multiplied, for each channel or for all."""
    if unit not in UNITS:
        raise unknown("unit of a perturbation", unit, list(UNITS))
    if unit == "eps" and not eps:
        raise UsageError("values in multiples of a budget need one above 0; give it as --eps 8/255")
    scales = {"image": 1.0, "grey": 1 / 255, "eps": eps, "imagenet": IMAGENET_STD}
    return torch.tensor(scales[unit], dtype=torch.float64).reshape(-1, 1, 1)


def _image_of(noise: Perturbation) -> Tensor:
    return noise.get_parameter("delta").detach().cpu()[0].clone()


def _write_npy(path: Path, noise: Perturbation) -> str:
    with open(path, "wb") as file:  # given a name, numpy would add a suffix to it
        np.save(file, _image_of(noise).numpy(), allow_pickle=False)
    return _described(noise)


def _write_tensor(path: Path, noise: Perturbation) -> str:
    write_torch(path, _image_of(noise))
    return _described(noise)


def _described(noise: Perturbation) -> str:
    return f"the additive image, float32 {tuple(_image_of(noise).shape)} in image units, to the bit"


NPY = Format(_write_npy, "delta")
TENSOR = Format(_write_tensor, "delta")
