"""This project's own models: ResNets with re-ID layers on top, and resMeta, the released defended model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reid.models.architectures import layout_of
from reid.models.checkpoint import LoadReport, load_state
from reid.models.families import Family
from reid.models.inputs import InputSpec
from reid.models.network import INPUT, ReidModel, create


class ResNetFamily(Family):
    """`base.*` is torchvision's ResNet, `feat.*` and `feat_bn.*` the embedding; docs/checkpoints.md has all keys."""

    feature = "pooled last stage, not normalised"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return any(key.startswith("base.layer1.") for key in state) and "feat.weight" in state

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[ReidModel, LoadReport]:
        """A file without a head will do, since features do not need one."""
        arch, num_classes = layout_of(state, path)
        model = create(arch, num_classes or 1, seed=0).eval()
        return model, load_state(model, state, path)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return INPUT
