"""torchreid's OSNet of every width, with instance normalisation as in OSNet-IBN and OSNet-AIN, or without."""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families.bodies import Named, load_whole, named, rows
from reid.models.families.torchreid import HEADS, Torchreid

STREAM = re.compile(r"conv[234]\.\d\.conv2([a-d]|\.\d\.layers)\.")


class OSNetFamily(Torchreid):
    """Width, the kind of normalisation and where it is come from keys and shapes."""

    feature = "embedding (512) of the pooled last stage, after its normalisation and ReLU, not scaled"
    told_by = "conv1.conv.weight (16 to 64 channels), conv2.0.conv2a.* (AIN: conv2.0.conv2.0.layers.*), fc.0.weight"
    traps = (
        "boxmot scales features to unit length. Files of trackers are fed by cv2.resize, torchreid's by PIL; the same "
        "weights exist as ONNX files that are fed otherwise. LightMBN has OSNet's blocks and is another network."
    )

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return getattr(state.get("conv1.conv.weight"), "ndim", 0) == 4 and any(map(STREAM.match, state))

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        return load_whole(lambda: osnet(state), state, path, HEADS)


def osnet(state: Mapping[str, Tensor]) -> Named:
    """Normalised images (N, 3, H, W) to features (N, D)."""
    ain = any(".layers." in key for key in state)
    instance = "conv1.bn.running_mean" not in state
    width, embedding = (rows(state, key) for key in ("conv1.conv.weight", "fc.0.weight"))
    stem = convolution(3, width, 7, nn.InstanceNorm2d if instance else nn.BatchNorm2d)
    layers: dict[str, nn.Module] = {"conv1": stem, "maxpool": nn.MaxPool2d(3, 2, 1)}
    for stage, (inside, outside) in enumerate(pairwise((width, 4 * width, 6 * width, 8 * width)), 2):
        name = f"conv{stage}"
        first, second = (f"{name}.{i}.IN.weight" in state if ain else instance and stage == 2 for i in (0, 1))
        blocks = nn.Sequential(Block(inside, outside, ain, first), Block(outside, outside, ain, second))
        layers[name] = blocks
        if stage < 4:
            halved = nn.Sequential(convolution(outside, outside), nn.AvgPool2d(2))
            layers |= {f"pool{stage}": halved} if ain else {name: blocks.append(halved)}
    layers |= {"conv5": convolution(8 * width, 8 * width), "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}
    layers["fc"] = nn.Sequential(nn.Linear(8 * width, embedding), nn.BatchNorm1d(embedding), nn.ReLU())
    model = named(**layers)
    model.arch = f"osnet{'_ain' if ain else '_ibn' * instance}_x{width / 64}".replace(".", "_")
    return model


def convolution(inside: int, outside: int, kernel: int = 1, norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    """Convolution, normalisation and ReLU."""
    stride = 1 if kernel == 1 else 2
    layer = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
    return named(conv=layer, bn=norm(outside, affine=True), relu=nn.ReLU())


def stream(width: int, depth: int) -> nn.Sequential:
    """Light 3 x 3 convolutions in turn: pointwise, then each channel alone."""
    light = [
        named(
            conv1=nn.Conv2d(width, width, 1, bias=False),
            conv2=nn.Conv2d(width, width, 3, padding=1, bias=False, groups=width),
            bn=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
        )
        for _ in range(depth)
    ]
    return nn.Sequential(*light)


def gate(width: int) -> nn.Sequential:
    """How much of each channel goes on, from its mean."""
    narrow = max(width // 16, 1)
    squeeze, widen = nn.Conv2d(width, narrow, 1), nn.Conv2d(narrow, width, 1)
    return named(pool=nn.AdaptiveAvgPool2d(1), fc1=squeeze, relu=nn.ReLU(), fc2=widen, sigmoid=nn.Sigmoid())


class Block(nn.Module):
    """Four streams of depths 1 to 4 under one gate; `instance` normalises the sum, in OSNet-AIN the residual alone."""

    def __init__(self, inside: int, outside: int, ain: bool, instance: bool) -> None:
        super().__init__()
        self.ain, middle = ain, outside // 4
        self.conv1 = convolution(inside, middle)
        if ain:
            self.conv2 = nn.ModuleList(named(layers=stream(middle, depth)) for depth in (1, 2, 3, 4))
        else:
            self.conv2a: nn.Module = stream(middle, 1)[0]
            self.conv2b, self.conv2c, self.conv2d = (stream(middle, depth) for depth in (2, 3, 4))
        self.gate = gate(middle)
        self.conv3, self.downsample = convolution(middle, outside)[:2], convolution(inside, outside)[:2]
        if ain and instance:
            del self.conv3.bn
        if inside == outside:
            self.downsample = nn.Sequential()
        self.IN = nn.InstanceNorm2d(outside, affine=True) if instance else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        streams = self.conv2 if self.ain else (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
        parts = [stream(y) for stream in streams]
        y, x = self.conv3(sum(part * self.gate(part) for part in parts)), self.downsample(x)
        return torch.relu(self.IN(y) + x if self.ain else self.IN(y + x))
