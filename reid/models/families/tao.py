"""NVIDIA TAO's ReIdentificationNet with a ResNet: the strong baseline with a convolution that narrows the feature."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole
from reid.models.families.parts import Body
from reid.models.families.strong_baseline import Baseline
from reid.models.inputs import IMAGENET_MEAN, InputSpec

PREFIX = "model."  # of Lightning
IGNORED = ("classifier.", "center_criterion.")


class Tao(Family):
    """The prefix of Lightning may have been taken off."""

    feature = "after the batch norm of the neck (256 wide, unless trained otherwise), not normalised"
    told_by = "model.base.layer1.*, model.bottleneck.*, and model.base.feature.weight unless its feature is 2048 wide"
    traps = (
        "deviation 0.226 in all channels; no ReLU in the stem; the flip feature of its options is not computed; "
        "without base.feature it cannot be told from a strong baseline that Lightning saved"
    )
    seen = "NVIDIA/tao_pytorch_backend @ 3a8a971"
    distance = "cosine"  # it ranks features of unit length by euclidean distance, which is the same order

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        own = _without_prefix(state)
        told = "base.feature.weight" in own or f"{PREFIX}base.layer1.0.conv1.weight" in state
        return told and "bottleneck.weight" in own and any(key.startswith("base.layer1.") for key in own)

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        state = _without_prefix(state)

        def make() -> nn.Module:
            body = Body(state, path, "base.", relu=False, pool="3/2/1")
            model = Baseline(state, body)
            if body.width != model.bottleneck.num_features:
                body.feature = nn.Conv2d(body.width, model.bottleneck.num_features, 1)
            return model

        return load_whole(make, state, path, IGNORED)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return InputSpec(256, 128, mean=IMAGENET_MEAN, std=(0.226, 0.226, 0.226))


def _without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(PREFIX): value for key, value in state.items()}
