"""Cluster-contrast and its relatives (SpCL, MMT): unsupervised re-ID whose ResNet is a list of modules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole, rows
from reid.models.families.parts import Body, chosen, pooling
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec


class ListedBaseline(nn.Module):
    """Images to features (N, D) of unit length: body, pooling, perhaps an embedding, batch norm."""

    def __init__(self, state: Mapping[str, Tensor], path: str | Path, pool: str) -> None:
        super().__init__()
        relu = not any(key.startswith("base.3.") for key in state)
        names = {f"base.{index + 2 + relu}.": f"base.layer{index}." for index in (1, 2, 3, 4)}
        renamed = {names.get(key[:7], key[:7]) + key[7:]: value for key, value in state.items()}
        body = Body(renamed, path, "base.", relu=relu, pool="3/2/1")
        stem = [body.conv1, body.bn1, *([body.relu] if relu else []), body.maxpool]
        self.base = nn.Sequential(*stem, body.layer1, body.layer2, body.layer3, body.layer4)
        self.gap, self.arch = pooling(pool), body.arch
        embedding = rows(state, "feat.weight", 0)
        self.feat = nn.Linear(body.width, embedding) if embedding else nn.Identity()
        self.feat_bn = nn.BatchNorm1d(embedding or body.width)

    def forward(self, images: Tensor) -> Tensor:
        feature = self.feat_bn(self.feat(self.gap(self.base(images)).flatten(1)))
        return nn.functional.normalize(feature)


class ClusterContrast(Family):
    """Variants are the poolings that a file without an exponent can have."""

    feature = "after the batch norm, at unit length"
    told_by = "base.0.weight, base.4.0.* (its stem has a ReLU) or base.3.0.* (it has none), feat_bn.*"
    traps = (
        "MMT's ResNet has no ReLU in the stem; of SpCL's norms for two domains (BN_S, BN_T) the target's are used; a "
        "file without gap.p was trained with average or max-pooling, or has lost its exponent"
    )
    seen = "alibaba/cluster-contrast-reid @ 57b62e9, yxgeee/SpCL @ 01a486e, yxgeee/MMT @ 057e1ea"
    distance = "euclidean"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        blocks = any(key.startswith(("base.3.0.conv", "base.4.0.conv")) for key in state)
        return blocks and any(key.startswith("feat_bn.") for key in state)

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        return ("gem",) if "gap.p" in state else ("avg", "max")

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        state = {key.replace(".BN_T.", "."): value for key, value in state.items() if ".BN_S." not in key}
        pool = chosen(variant, self.variants(state, {}))
        return load_whole(lambda: ListedBaseline(state, path, pool), state, path, ("classifier.",))

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return InputSpec(256, 128, resize="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)
