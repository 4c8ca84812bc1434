"""What families of re-ID ResNets share besides the bodies: their stems, non-local blocks, pooling and neck."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from reid.models.families.bodies import resnet_of, rows
from reid.runtime.registry import unknown

POOLS = {  # of the stem: kernel, stride and padding
    "3/2/1": partial(nn.MaxPool2d, 3, 2, 1),
    "3/2/ceil": partial(nn.MaxPool2d, 3, 2, ceil_mode=True),
    "2/2/0": partial(nn.MaxPool2d, 2),
}
NON_LOCAL = {"resnet50": {2: 2, 3: 3}, "resnet101": {2: 2, 3: 9}}  # blocks in each stage that has some


class Body(nn.Module):
    """A ResNet up to its last stage, which has stride 1: images to maps (N, width, H / 16, W / 16).

    Its keys begin with `prefix`; `relu` and `pool` (one of POOLS) are its stem. Where the keys have non-local blocks,
    they follow the last blocks of the second and third stage. Raises CheckpointError where a block is missing.
    """

    def __init__(self, state: Mapping[str, Tensor], path: str | Path, prefix: str, *, relu: bool, pool: str) -> None:
        super().__init__()
        resnet = resnet_of(state, path, prefix, last_stride=1)
        self.arch: str = resnet.arch
        self.width: int = resnet.inplanes  # after its last stage
        self.conv1, self.bn1, self.maxpool = resnet.conv1, resnet.bn1, POOLS[pool]()
        self.relu = resnet.relu if relu else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4
        self.feature: nn.Module = nn.Identity()  # a convolution after the last stage, where a family has one
        inner = {rows(state, key) for key in state if key.startswith(f"{prefix}NL_") and key.endswith(".g.weight")}
        for stage, count in NON_LOCAL.get(self.arch.removesuffix("_ibn_a"), {}).items() if inner else ():
            blocks = (NonLocal(self.width >> 4 - stage, min(inner)) for _ in range(count))
            self.add_module(f"NL_{stage}", nn.ModuleList(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), 1):
            extras = getattr(self, f"NL_{stage}", ())
            for index, block in enumerate(layer, len(extras) - len(layer)):
                x = block(x)
                x = extras[index](x) if index >= 0 else x
        return self.feature(x)


class NonLocal(nn.Module):
    """Adds to each place of a map what it sees at all places: the dot products of two embeddings weigh a third."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        value, query, key = (part(x).flatten(2) for part in (self.g, self.theta, self.phi))  # (N, inner, places)
        seen = value @ (key.mT @ query) / value.shape[2]
        return x + self.W(seen.unflatten(2, x.shape[2:]))


class GeM(nn.Module):
    """Generalised mean over the places of a map: the p-th root of the mean p-th power. p is a weight, or 3."""

    def __init__(self, *, learnt: bool) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0)) if learnt else 3.0

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3), keepdim=True).pow(1 / self.p)


def chosen(variant: str, variants: Sequence[str]) -> str:
    """`variant`, or the first of `variants` where it is empty. Raises UsageError for one that is not among them."""
    if variant and variant not in variants:
        raise unknown("variant", variant, variants)
    return variant or variants[0]


def pooling(name: str) -> nn.Module:
    """avg, max, gem (with the exponent of the file) or gem3: maps (N, D, H, W) to (N, D, 1, 1)."""
    if name.startswith("gem"):
        return GeM(learnt=name == "gem")
    return nn.AdaptiveMaxPool2d(1) if name == "max" else nn.AdaptiveAvgPool2d(1)
