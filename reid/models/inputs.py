"""What a network wants to be given: size, channel order, range and normalisation, as the first layer of a victim."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from reid.errors import UsageError
from reid.models.readings import PREPROCESSINGS, Channels
from reid.runtime.registry import unknown

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

    @property
    def usual(self) -> str:
        """The name of the usual preprocessing that this is, whatever its size; empty for another."""
        return next((name for name, values in PREPROCESSINGS.items() if self._as_usual(*values)), "")

    def _as_usual(self, channels: str, scale: float, mean: Channels, std: Channels) -> bool:
        """Whether a pixel becomes the same."""
        own, other = ((*mean, *std), (*self.mean, *self.std))
        pairs = zip((value / scale for value in own), (value / self.scale for value in other), strict=True)
        return channels == self.channels and all(abs(first - second) < 1e-3 * second + 1e-6 for first, second in pairs)

    @property
    def words(self) -> str:
        """One line for people."""
        how = self.usual or f"times {self.scale:g}, less {self.mean}, by {self.std}"
        resized = f"by {self.resize}" if self.resize else "not resized"
        return f"{self.height} x {self.width} ({resized}), {self.channels.upper()}, {how}"

    def differing(self, other: "InputSpec") -> str:
        """What most likely matters of all that tells this input from another one, in words; empty for nothing."""
        if self.channels != other.channels:
            return "order of channels"
        spans = [spec.scale / sum(spec.std) for spec in (self, other)]
        if max(spans) > 10 * min(spans):
            return "range of values"
        same = self._as_usual(other.channels, other.scale, other.mean, other.std)
        return "" if same else "mean and deviation"

    def layer(self) -> "InputLayer":
        """The layer that does it, without weights."""
        return InputLayer(self)

    def to_json(self) -> str:
        """One line of JSON, as exported models carry it."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, values: object, where: str | Path) -> Self:
        """From the text of `to_json`, or what it says, found in the file `where`. Raises UsageError for others."""
        try:
            stated: Any = json.loads(values) if isinstance(values, str) else values
            items: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stated.items()}
            return cls(**items)
        except (ValueError, TypeError, AttributeError) as error:
            wanted = ", ".join(each.name for each in fields(cls))
            raise UsageError(f"{where} describes no input ({error}); it takes {wanted}, as JSON") from error

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """From a file of JSON. Raises UsageError for one that cannot be read."""
        try:
            return cls.of(Path(path).read_text(encoding="utf-8"), path)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {path} ({error}); give a JSON file that describes an input") from error


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


def preprocessing(name: str, height: int, width: int, resize: str | None = "bilinear") -> InputSpec:
    """The InputSpec of a preprocessing that is common in the field. Raises UsageError for an unknown name.

    imagenet: mean and deviation of ImageNet; half: 0.5 and 0.5; unit: [0, 1] as it is; 255: grey levels as they are;
    caffe: grey levels less ImageNet's mean. With -bgr the channels are in OpenCV's order.
    """
    if name not in PREPROCESSINGS:
        raise unknown("preprocessing", name, list(PREPROCESSINGS))
    return InputSpec(height, width, resize, *PREPROCESSINGS[name])
