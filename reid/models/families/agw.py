"""AGW, the baseline of the ReID-Survey: the strong baseline with non-local blocks and generalised-mean pooling."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole
from reid.models.families.parts import Body, chosen
from reid.models.families.strong_baseline import IGNORED, Baseline
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec


class Agw(Family):
    """Either part can be without the other. Variants are the poolings that a file without an exponent can have."""

    feature = "after the batch norm of the neck, not normalised"
    told_by = "the strong baseline's base.layer1.* and bottleneck.*, with base.NL_* or global_pool.p"
    traps = (
        "no ReLU in the stem; a file without global_pool.p was trained with average pooling, or has lost its exponent"
    )
    seen = "mangye16/ReID-Survey @ 38f5912"
    distance = "cosine"  # it ranks features of unit length by euclidean distance, which is the same order

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        extras = "global_pool.p" in state or any(key.startswith("base.NL_") for key in state)
        return extras and "bottleneck.weight" in state and any(key.startswith("base.layer1.") for key in state)

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        return ("gem",) if "global_pool.p" in state else ("avg", "gem3")

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        pool = chosen(variant, self.variants(state, {}))
        ibn = any(".bn1.IN." in key for key in state)  # its IBN body, as everybody's, has the ReLU

        def make() -> nn.Module:
            return Baseline(state, Body(state, path, "base.", relu=ibn, pool="3/2/1"), pool=pool)

        return load_whole(make, state, path, IGNORED)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return InputSpec(256, 128, mean=IMAGENET_MEAN, std=IMAGENET_STD)
