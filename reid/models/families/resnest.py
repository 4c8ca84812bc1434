"""ResNeSt bodies of fast-reid (BoT-SORT's `mot17_sbs_S50`). timm's have the same keys, but no dilated last stage."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from reid.models.architectures import BODIES, depth_of
from reid.models.families.bodies import rows


class SplitAttention(nn.Module):
    """Two maps by one grouped 3x3 convolution, and for each channel the sum that attention over the two weighs."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        inner = max(channels // 2, 32)
        self.conv = nn.Conv2d(channels, 2 * channels, 3, 1, dilation, dilation, groups=2, bias=False)
        self.bn0, self.bn1 = nn.BatchNorm2d(2 * channels), nn.BatchNorm2d(inner)
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.relu(self.bn0(self.conv(x))).unflatten(1, (2, -1))  # (N, 2, C, H, W)
        seen = maps.sum(dim=1).mean(dim=(2, 3), keepdim=True)
        weights = self.fc2(torch.relu(self.bn1(self.fc1(seen)))).unflatten(1, (2, -1)).softmax(dim=1)
        return (maps * weights).sum(dim=1)


class Block(nn.Module):
    """A bottleneck around split attention; `average` and `down` are strides of pooling after it and of the way past."""

    def __init__(self, entering: int, channels: int, *, average: int = 0, dilation: int = 1, down: int = 0) -> None:
        super().__init__()
        leaving = 4 * channels
        self.conv1, self.bn1 = nn.Conv2d(entering, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2 = SplitAttention(channels, dilation)
        self.average = nn.AvgPool2d(3, average, padding=1) if average else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(channels, leaving, 1, bias=False), nn.BatchNorm2d(leaving)
        self.downsample: nn.Module = nn.Identity()
        if down:
            pool = nn.AvgPool2d(down, down, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(pool, nn.Conv2d(entering, leaving, 1, bias=False), nn.BatchNorm2d(leaving))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn3(self.conv3(self.average(self.conv2(out)))) + self.downsample(x))


class ResNeSt(nn.Module):
    """Images to maps (N, 2048, H / 16, W / 16). The last stage has stride 1 and (not its first block) dilation 2.

    Its keys begin with `prefix`. Raises CheckpointError where a block is missing.
    """

    def __init__(self, state: Mapping[str, Tensor], path: str | Path, prefix: str) -> None:
        super().__init__()
        name, stem = depth_of(state, path, prefix), rows(state, f"{prefix}conv1.0.weight")
        self.arch, self.width = name.replace("resnet", "resnest"), 2048
        layers: list[nn.Module] = []
        for entering, leaving, stride in ((3, stem, 2), (stem, stem, 1), (stem, 2 * stem, 1)):
            convolution = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
            layers += [convolution, nn.BatchNorm2d(leaving), nn.ReLU(inplace=True)]
        self.conv1, self.bn1, self.relu = nn.Sequential(*layers[:-2]), layers[-2], layers[-1]
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        entering = 2 * stem
        for stage, count in enumerate(BODIES[name].blocks):
            channels, stride = 64 * 2**stage, 2 if stage in (1, 2) else 1
            first = Block(entering, channels, average=stride if stage else 0, down=stride)
            entering, dilation = 4 * channels, 2 if stage == 3 else 1
            others = (Block(entering, channels, dilation=dilation) for _ in range(count - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *others))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            x = part(x)
        return x
