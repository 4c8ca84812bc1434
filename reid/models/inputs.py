"""What a network wants to be given: size, channel order, range and normalisation, as the first layer of a victim."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from reid.errors import UsageError
from reid.runtime.registry import unknown

Channels = tuple[float, float, float]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
RESIZES = ("bilinear", "bicubic", "nearest", None)


@dataclass(frozen=True)
class InputSpec:
    """From RGB in [0, 1] to what a network takes: resized, in its channel order, times `scale`, less `mean`, by `std`.

    `resize` is bilinear or bicubic (antialiased and clamped), nearest, or None for a network that takes any size, of
    which `height` and `width` are those of its training. `mean` and `std` are in the network's channel order and unit,
    after `scale`. Raises UsageError for values that cannot be.
    """

    height: int
    width: int
    resize: str | None = "bilinear"
    channels: str = "rgb"
    scale: float = 1.0
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise UsageError(f"an input of {self.height} x {self.width} pixels cannot be; give at least 1 x 1")
        if self.resize not in RESIZES:
            raise UsageError(f"resize {self.resize!r} is not one of {', '.join(map(str, RESIZES))}")
        if self.channels not in ("rgb", "bgr"):
            raise UsageError(f"channels {self.channels!r} is neither rgb nor bgr")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in (*self.std, self.scale)):
            raise UsageError("mean and std of an input take three numbers each; std and scale must be above 0")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def layer(self) -> "InputLayer":
        """The layer that does it, without weights."""
        return InputLayer(self)

    def to_json(self) -> str:
        """One line of JSON, as exported models carry it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, where: str | Path) -> Self:
        """From such a line, found `where`. Raises UsageError for anything else."""
        try:
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()
            }
            return cls(**values)
        except (ValueError, TypeError, AttributeError) as error:
            wanted = ", ".join(each.name for each in fields(cls))
            raise UsageError(f"{where} describes no input ({error}); give {wanted} as JSON") from error


class InputLayer(nn.Module):
    """Images (N, 3, H, W), RGB in [0, 1], to what the network of `spec` takes; gradients flow through."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        spec = self.spec
        if spec.resize is not None and images.shape[2:] != spec.size:
            images = interpolate(images, spec.size, mode=spec.resize, antialias=spec.resize != "nearest").clamp(0, 1)
        if spec.channels == "bgr":
            images = images.flip(1)
        if spec.scale != 1:
            images = images * spec.scale
        return (images - self.mean.to(images)) / self.std.to(images)


NONE: Channels = (0.0, 0.0, 0.0)
ONE: Channels = (1.0, 1.0, 1.0)
HALF: Channels = (0.5, 0.5, 0.5)
PREPROCESSINGS: dict[str, tuple[str, float, Channels, Channels]] = {  # channels, scale, mean and std
    "imagenet": ("rgb", 1.0, IMAGENET_MEAN, IMAGENET_STD),
    "imagenet-bgr": ("bgr", 1.0, IMAGENET_MEAN[::-1], IMAGENET_STD[::-1]),
    "half": ("rgb", 1.0, HALF, HALF),
    "half-bgr": ("bgr", 1.0, HALF, HALF),
    "unit": ("rgb", 1.0, NONE, ONE),
    "unit-bgr": ("bgr", 1.0, NONE, ONE),
    "255": ("rgb", 255.0, NONE, ONE),
    "255-bgr": ("bgr", 255.0, NONE, ONE),
    "caffe": ("bgr", 255.0, (103.939, 116.779, 123.68), ONE),
}


def preprocessing(name: str, height: int, width: int, resize: str | None = "bilinear") -> InputSpec:
    """The InputSpec of a preprocessing that is common in the field. Raises UsageError for an unknown name.

    imagenet: mean and deviation of ImageNet; half: 0.5 and 0.5; unit: [0, 1] as it is; 255: grey levels as they are;
    caffe: grey levels less ImageNet's mean. With -bgr the channels are in OpenCV's order.
    """
    if name not in PREPROCESSINGS:
        raise unknown("preprocessing", name, list(PREPROCESSINGS))
    return InputSpec(height, width, resize, *PREPROCESSINGS[name])
