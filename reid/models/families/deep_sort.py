"""The networks of deep_sort_pytorch: its own residual network, the one before it, and ResNets without a last stage."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import normalize

from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import Named, load_whole, named, resnet_of
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec


class DeepSortFamily(Family):
    """Keys tell which of the three networks it is."""

    feature = "pooled last stage (512), or of the network before it the embedding (128), scaled to unit length"
    told_by = "conv.0.weight and layer1.0.conv1.weight; its ResNets: conv1.weight, fc.weight (classes, 256), no layer4"
    traps = (
        "The tracker resizes with OpenCV, wants RGB from its caller, and leaves the network in training mode, so that "
        "its features depend on the batch; here it is in eval mode, as in the authors' test."
    )
    seen = "ZQPei/deep_sort_pytorch @ 4f910af, and @ 4c3a151 for the network before (original_model.py)"
    distance = "cosine"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        own = "conv.0.weight" in state and "layer1.0.conv1.weight" in state
        stages = {key.partition(".")[0] for key in state}
        resnet = {"conv1", "layer3", "fc"} <= stages and "layer4" not in stages and "fc.weight" in state
        return own or (resnet and state["fc.weight"].shape[1:] in ((256,), (1024,)))

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        if "conv.0.weight" not in state:
            return load_whole(lambda: _resnet(state, path), state, path, ("fc.",))
        original = any(key.startswith("dense.") for key in state)
        ignored = ("classifier.", *(("dense.2.", "batch_norm.") if original else ()))
        return load_whole(_original if original else _current, state, path, ignored)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return InputSpec(128, 64, mean=IMAGENET_MEAN, std=IMAGENET_STD)


class Unit(nn.Module):
    """Features (N, D) scaled to unit length."""

    def forward(self, x: Tensor) -> Tensor:
        return normalize(x)


def _current() -> Named:
    stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    stages = _stages(64, 64, 128, 256, 512)
    model = named(conv=stem, **stages, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), unit=Unit())
    model.arch = "deep_sort_pytorch"
    return model


def _original() -> Named:
    stem = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ELU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ELU(), nn.MaxPool2d(3, 2, 1)),
    )
    stages = _stages(32, 32, 64, 128)
    dense = nn.Sequential(nn.Identity(), nn.Linear(128 * 16 * 8, 128))
    model = named(conv=stem, **stages, flat=nn.Flatten(), dense=dense, unit=Unit())
    model.arch = "deep_sort_pytorch-original"
    return model


def _resnet(state: Mapping[str, Tensor], path: str | Path) -> nn.Module:
    model = resnet_of(state, path, stages=3)
    model.fc, model.arch = Unit(), f"deep_sort_pytorch-{model.arch}"
    return model


def _stages(*widths: int) -> dict[str, nn.Sequential]:
    return {f"layer{place}": _stage(*sides) for place, sides in enumerate(pairwise(widths), 1)}


def _stage(inside: int, outside: int) -> nn.Sequential:
    from torchvision.models.resnet import BasicBlock  # takes a second: when a network is made

    halved = nn.Sequential(nn.Conv2d(inside, outside, 1, 2, bias=False), nn.BatchNorm2d(outside))
    stride, shortcut = (1, None) if inside == outside else (2, halved)
    return nn.Sequential(BasicBlock(inside, outside, stride, shortcut), BasicBlock(outside, outside))
