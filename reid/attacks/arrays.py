"""Universal perturbations of other projects: one plain array, whose order and unit are taken where they are certain."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid.errors import CheckpointError

NAMES = ("delta", "perturbation", "noise", "uap", "v", "arr_0")  # arr_0 is numpy's, where nobody gave one

logger = logging.getLogger(__name__)


def additive_image(content: Any, path: Path) -> Tensor | None:
    """The additive image (1, 3, H, W), in image units, in an array or a mapping that has one, under one of NAMES.

    None where there is no such array. Raises CheckpointError where shape, order or unit are not certain.
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
    values, grey = _image_units(image, f"{path}: {name}")
    if channels_last or grey:
        order, unit = ("last", "first")[not channels_last], ("grey levels" if grey else "image units")
        logger.info("%s is taken with the channels %s, in %s", path, order, unit)
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


def _image_units(array: Tensor, what: str) -> tuple[Tensor, bool]:
    """The values in float32 in image units, and whether they were grey levels.

    What adds and takes away up to half the range is in image units. Grey levels are whole numbers from 2 up, or larger
    than any image that was normalised; values of one sign may have an offset in them, or be an image.
    """
    values = array.double()
    low, high = (value.item() for value in values.aminmax())
    largest, whole = max(-low, high), bool((values == values.round()).all())
    if array.is_floating_point() and largest <= (0.5 if low >= 0 or whole else 1):
        return values.float(), False
    if low < 0 and (2 if whole else 3) <= largest <= 255:
        return (values / 255).float(), True
    seen = f"{what} holds {str(array.dtype).removeprefix('torch.')} in [{low:.4g}, {high:.4g}]"
    if not largest < torch.inf:
        raise CheckpointError(f"{seen}: no finite numbers in image units, [0, 1]; learn or download it again")
    remedy = "take an offset off, divide by 255 what is in grey levels, and save floats in image units, [0, 1]"
    raise CheckpointError(f"{seen}, of which the unit is not certain; {remedy}")
