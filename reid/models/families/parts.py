"""What families of ResNets share: a body told by its keys, its stems and extras, pooling, and strict loading."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from reid.errors import CheckpointError, few
from reid.models.architectures import resnet_of
from reid.models.checkpoint import LoadReport, load_state
from reid.models.network import torchvision_resnet

STAGES = ("layer1.", "layer2.", "layer3.", "layer4.")
POOLS = {
    "3/2/1": partial(nn.MaxPool2d, 3, 2, 1),
    "3/2/ceil": partial(nn.MaxPool2d, 3, 2, ceil_mode=True),
    "2/2/0": partial(nn.MaxPool2d, 2),
}
NON_LOCAL = {"resnet50": {2: 2, 3: 3}, "resnet101": {2: 2, 3: 9}}  # blocks in each stage that has some


class Body(nn.Module):
    """torchvision's ResNet up to its last stage, whose stride is 1: images to maps (N, width, H / 16, W / 16).

    `relu` and `pool` (one of POOLS) are the stem. Instance and batch norm share the first norm of each block with
    `ibn`. Non-local blocks, `inner` channels wide, follow the last blocks of the second and third stage.
    """

    def __init__(self, arch: str, *, relu: bool, pool: str, ibn: bool = False, inner: int = 0) -> None:
        super().__init__()
        resnet = torchvision_resnet(arch)
        self.name = arch + "-ibn" * ibn + "-nl" * bool(inner)
        self.width: int = resnet.fc.in_features
        self.conv1, self.bn1, self.maxpool = resnet.conv1, resnet.bn1, POOLS[pool]()
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4
        self.feature: nn.Module = nn.Identity()  # a convolution after the last stage, where a family has one
        first = self.layer4[0]
        for convolution in (first.conv2 if hasattr(first, "conv3") else first.conv1, first.downsample[0]):
            convolution.stride = (1, 1)
        for block in (*self.layer1, *self.layer2, *self.layer3) if ibn else ():
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)
        for stage, count in NON_LOCAL.get(arch, {}).items() if inner else ():
            blocks = (NonLocal(self.width * 2 ** (stage - 4), inner) for _ in range(count))
            self.add_module(f"NL_{stage}", nn.ModuleList(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), 1):
            extras = getattr(self, f"NL_{stage}", ())
            for index, block in enumerate(layer, len(extras) - len(layer)):
                x = block(x)
                x = extras[index](x) if index >= 0 else x
        return self.feature(x)


class InstanceBatchNorm(nn.Module):
    """Instance norm of the first half of the channels, batch norm of the second (IBN-a)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.halves = [channels // 2, channels - channels // 2]
        self.IN = nn.InstanceNorm2d(self.halves[0], affine=True)
        self.BN = nn.BatchNorm2d(self.halves[1])

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.split(self.halves, dim=1)
        return torch.cat([self.IN(first), self.BN(second)], dim=1)


class NonLocal(nn.Module):
    """Adds to each place of a map what it sees at all places: the dot products of two embeddings weigh a third."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        value, query, key = (part(x).flatten(2) for part in (self.g, self.theta, self.phi))  # (N, inner, places)
        seen = value @ (key.mT @ query) / x[0, 0].numel()
        return x + self.W(seen.unflatten(2, x.shape[2:]))


class GeM(nn.Module):
    """Generalised mean over the places of a map: the p-th root of the mean p-th power. p is 3, or a weight."""

    def __init__(self, *, learnt: bool) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0)) if learnt else 3.0

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3), keepdim=True).pow(1 / self.p)


def pooling(name: str) -> nn.Module:
    """avg, max, gem (with the exponent of the file) or gem3: maps (N, D, H, W) to (N, D, 1, 1)."""
    return {
        "avg": lambda: nn.AdaptiveAvgPool2d(1),
        "max": lambda: nn.AdaptiveMaxPool2d(1),
        "gem": lambda: GeM(learnt=True),
        "gem3": lambda: GeM(learnt=False),
    }[name]()


def body_of(state: Mapping[str, Tensor], prefix: str, path: str | Path, *, relu: bool, pool: str) -> Body:
    """The body for the keys under `prefix`. Raises CheckpointError where their blocks are those of no ResNet."""
    arch = resnet_of(state, [prefix + stage for stage in STAGES], path)
    own = {key: value for key, value in state.items() if key.startswith(prefix)}
    inner = next((len(value) for key, value in own.items() if ".NL_" in key and key.endswith(".g.weight")), 0)
    return Body(arch, relu=relu, pool=pool, ibn=any(".bn1.IN." in key for key in own), inner=inner)


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], path: str | Path, ignored: Sequence[str]
) -> LoadReport:
    """Load every tensor of a file into a model, but those whose keys begin with one of `ignored`, such as its head.

    Raises CheckpointError for a tensor that is missing or has another shape, and for one that the model has no place
    for: with it the file is of another network, whose features would be others.
    """
    report = load_state(model, state, path, optional=())
    others = [key for key in report.unexpected if not key.startswith(tuple(ignored))]
    if others:
        problem = f"{len(others)} tensors that a {getattr(model, 'arch', 'network')} has no place for ({few(others)})"
        raise CheckpointError(f"{path} has {problem}, so it is another network; export that to ONNX and give the file")
    return report
