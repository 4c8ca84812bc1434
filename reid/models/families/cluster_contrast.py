"""Cluster-contrast and its relatives (SpCL, MMT): unsupervised re-ID whose ResNet is a list of modules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid.models.architectures import resnet_of
from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.parts import Body, load_strictly, pooling
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec


class ListedBaseline(nn.Module):
    """Images to features (N, D) of unit length: body, pooling, perhaps an embedding, batch norm."""

    def __init__(self, body: Body, pool: nn.Module, *, relu: bool, embedding: int = 0) -> None:
        super().__init__()
        stem = [body.conv1, body.bn1, *([body.relu] if relu else []), body.maxpool]
        self.base = nn.Sequential(*stem, body.layer1, body.layer2, body.layer3, body.layer4)
        self.gap = pool
        self.feat = nn.Linear(body.width, embedding) if embedding else nn.Identity()
        self.feat_bn = nn.BatchNorm1d(embedding or body.width)
        self.arch = body.name

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
        variant = variant or self.variants(state, {})[0]
        relu = not any(key.startswith("base.3.") for key in state)
        arch = resnet_of(state, [f"base.{index + 3 + relu}." for index in range(4)], path)
        body = Body(arch, relu=relu, pool="3/2/1", ibn=any(".bn1.IN." in key for key in state))
        feat = state.get("feat.weight", torch.empty(0))
        model = ListedBaseline(body, pooling(variant), relu=relu, embedding=len(feat)).eval()
        return model, load_strictly(model, state, path, ["classifier."])

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> InputSpec:
        return InputSpec(256, 128, resize="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)
