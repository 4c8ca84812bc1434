"""fast-reid: BoT, AGW and SBS with ResNet or ResNeSt bodies, in the layouts of all its releases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid.errors import CheckpointError, few
from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole, named, rows
from reid.models.families.parts import Body, chosen, pooling
from reid.models.families.resnest import ResNeSt
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, Channels, InputSpec

EXPONENT = "heads.pool_layer.p"
REDUCTION = "heads.bottleneck.0.weight"
RESNEST = "backbone.conv1.0.weight"
IGNORED = ("heads.weight", "heads.classifier.", "pixel_mean", "pixel_std")


class FastReid(nn.Module):
    """Images to features (N, D): body, pooling, perhaps a reduction, and the batch norm of the neck."""

    def __init__(self, state: Mapping[str, Tensor], path: str | Path, pool: str, stem: str) -> None:
        super().__init__()
        self.backbone: Body | ResNeSt
        if RESNEST in state:
            self.backbone = ResNeSt(state, path, "backbone.")
        else:
            self.backbone = Body(state, path, "backbone.", relu=True, pool=stem)
        self.arch, width = self.backbone.arch, self.backbone.width
        heads: dict[str, nn.Module] = {"pool_layer": pooling(pool)}
        neck: list[nn.Module] = []
        reduced = state.get(REDUCTION, torch.empty(0)).ndim == 4
        if reduced:
            neck.append(nn.Conv2d(width, rows(state, REDUCTION), 1, bias=False))
            width = rows(state, REDUCTION)
        neck.append(nn.BatchNorm2d(width))
        if any(key.startswith("heads.bnneck.") for key in state):
            if reduced:
                heads["bottleneck"] = nn.Sequential(*neck, nn.LeakyReLU(0.1))
            heads["bnneck"] = nn.BatchNorm2d(width)
        else:
            heads["bottleneck"] = nn.Sequential(*neck)
        self.heads = named(**heads)

    def forward(self, images: Tensor) -> Tensor:
        return self.heads(self.backbone(images)).flatten(1)


class FastReidFamily(Family):
    """Variants are a pooling and the max-pooling of the stem, such as `avg-3/2/ceil`."""

    feature = "after the batch norm of the neck, not normalised"
    told_by = "backbone.conv1.weight (conv1.0.weight: ResNeSt), backbone.layer1.*, heads.bottleneck.* or heads.bnneck.*"
    traps = (
        "the max-pool of the stem has no padding but ceil_mode since 2020-11: heads.bnneck.* is older, heads.weight "
        "newer, heads.classifier.* can be either; the exponent of AGW's pooling, 3, is not in new files; a file with "
        "an exponent is taken for SBS, 384 x 128, others for 256 x 128; pixels are 0..255"
    )
    seen = "JDAI-CV/fast-reid @ c9bc3ce, and its releases v0.1.1 (64861ea), v1.0.0 (7e83d31) and 42cadae (max-pool)"
    distance = "cosine"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        heads = any(key.startswith(("heads.bottleneck.", "heads.bnneck.", "heads.weight")) for key in state)
        return heads and any(key.startswith("backbone.") for key in state)

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        non_local = any(key.startswith("backbone.NL_") for key in state)
        pools = ["gem"] if EXPONENT in state else ["gem3", "avg"] if non_local else ["avg", "gem3"]
        stems = ["3/2/ceil", "3/2/1"]
        grouped = len({*state.get("backbone.layer1.0.conv2.weight", torch.empty(0)).shape[:2]}) == 2
        if RESNEST in state or grouped or "heads.bnneck.weight" in state:
            stems = ["3/2/1"]
        elif "heads.weight" in state:
            stems = ["3/2/ceil"]
        return tuple(f"{pool}-{stem}" for stem in stems for pool in pools)

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        pool, stem = chosen(variant, self.variants(state, {})).split("-")
        body = [key for key in state if key.startswith("backbone.")]
        if not any(key.startswith("backbone.layer1.") for key in body):
            problem = f"whose body ({few(body)}) is no ResNet or ResNeSt; export it to ONNX and give that file"
            raise CheckpointError(f"{path} is a fast-reid model {problem}")
        return load_whole(lambda: FastReid(state, path, pool, stem), state, path, IGNORED)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        height = 384 if EXPONENT in state else 256
        mean = _channels(state.get("pixel_mean"), IMAGENET_MEAN)
        std = _channels(state.get("pixel_std"), IMAGENET_STD)
        return InputSpec(height, 128, resize="bicubic", scale=255, mean=mean, std=std)


def _channels(pixels: Tensor | None, usual: Channels) -> Channels:
    values = [255 * value for value in usual] if pixels is None else pixels.flatten().tolist()
    return tuple(values)  # InputSpec refuses other than three
