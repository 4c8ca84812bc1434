"""What the transformers share: readings of files whose keys leave questions open, and attention."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from reid.errors import CheckpointError
from reid.models.families.bodies import rows
from reid.models.inputs import InputSpec
from reid.runtime.registry import unknown

T = TypeVar("T")

PATCH = 16
SIZES = ((256, 128), (384, 128), (256, 256), (224, 224), (384, 192), (256, 192), (320, 160))  # the likely ones first
STRIDES = (16, 12, 11)
HALF = (0.5, 0.5, 0.5)  # mean and standard deviation of most of them


@dataclass(frozen=True)
class Reading:
    """One way to read the file of a vision transformer; without a `code`, the codes of its cameras are averaged."""

    height: int
    width: int
    stride: int
    code: int | None = None

    def input(self) -> InputSpec:
        return InputSpec(self.height, self.width, mean=HALF, std=HALF)

    def of_codes(self, codes: Tensor) -> Tensor:
        """The camera code of (codes, ...) that is added for every image."""
        return codes.mean(0) if self.code is None else codes[self.code]


def readings(positions: int, codes: int, patch: int, strides: Sequence[int] = STRIDES) -> dict[str, Reading]:
    """Readings by name: sizes and strides that give so many `positions`, each with every choice of a camera code."""
    choices = {", camera codes averaged": None, **{f", camera code {code}": code for code in range(codes)}}
    return {
        f"{height}x{width}, stride {stride}{text}": Reading(height, width, stride, code)
        for height, width in SIZES
        for stride in strides
        if ((height - PATCH) // stride + 1) * ((width - PATCH) // stride + 1) == positions and patch == PATCH
        for text, code in (choices if codes else {"": None}).items()
    }


def has(state: Mapping[str, Tensor], dimensions: Mapping[str, int]) -> bool:
    """Whether the tensors of all these keys are there, of so many dimensions and not empty."""
    return all(key in state and state[key].ndim == count and state[key].numel() for key, count in dimensions.items())


def reduction(state: Mapping[str, Tensor], width: int) -> nn.Module:
    """What narrows a feature of this width: a layer where the file has one, or has a neck of another width."""
    narrow = rows(state, "bottleneck.weight", rows(state, "fcneck.weight", width))
    reduced = "fcneck.weight" in state or narrow != width
    return nn.Linear(width, narrow, bias=False) if reduced else nn.Identity()


def chosen(variants: Mapping[str, T], variant: str, path: str | Path) -> T:
    """The variant of this name, or the first one. Raises CheckpointError where there is none, and UsageError for a
    name of none."""
    if not variants:
        sizes = ", ".join(f"{height}x{width}" for height, width in SIZES)
        problem = f"its positions are of no image of {sizes} in patches of {PATCH} pixels at stride 16, 12 or 11"
        raise CheckpointError(f"{path} is for another size: {problem}; export the model to ONNX, which keeps its size")
    if variant not in ("", *variants):
        raise unknown("variant", variant, list(variants))
    return variants[variant or next(iter(variants))]


def attention(qkv: Tensor, heads: int, scale: float | None = None, bias: Tensor | float = 0.0) -> Tensor:
    """Values mixed by softmax attention (..., tokens, width), from queries, keys and values (..., tokens, 3 * width).

    `bias` is added to the scores (..., heads, tokens, tokens). Written out because fused attention has no second
    derivative, which meta-learning needs.
    """
    queries, keys, values = qkv.unflatten(-1, (3, heads, -1)).movedim(-3, 0).transpose(-3, -2)
    scores = (queries * (scale or queries.shape[-1] ** -0.5)) @ keys.transpose(-2, -1) + bias
    return (scores.softmax(-1) @ values).transpose(-3, -2).flatten(-2)
