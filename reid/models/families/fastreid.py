"""fast-reid: BoT, AGW and SBS with ResNet or ResNeSt bodies, in the layouts of all its releases."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.parts import Body, body_of, load_strictly, pooling
from reid.models.families.resnest import ResNeSt, resnest_of
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, Channels, InputSpec

EXPONENT = "heads.pool_layer.p"
IGNORED = ("heads.weight", "heads.classifier.", "pixel_mean", "pixel_std")


class FastReid(nn.Module):
    """Images to features (N, D): body, pooling, perhaps a reduction, and the batch norm of the neck."""

    def __init__(self, backbone: Body | ResNeSt, pool: nn.Module, neck: str, reduced: int) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(reduced or backbone.width)
        reduction = [nn.Conv2d(backbone.width, reduced, 1, bias=False)] if reduced else []
        self.backbone = backbone
        layers = {"pool_layer": pool, neck: norm if neck == "bnneck" else nn.Sequential(*reduction, norm)}
        self.heads = nn.Sequential(OrderedDict(layers))
        self.arch = backbone.name

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
        stem = "backbone.conv1.weight" in state or "backbone.conv1.0.weight" in state
        heads = any(key.startswith(("heads.bottleneck.", "heads.bnneck.", "heads.weight")) for key in state)
        return stem and heads and any(key.startswith("backbone.layer1.") for key in state)

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        non_local = any(key.startswith("backbone.NL_") for key in state)
        pools = ["gem"] if EXPONENT in state else ["gem3", "avg"] if non_local else ["avg", "gem3"]
        stems = ["3/2/ceil", "3/2/1"]
        if "backbone.conv1.0.weight" in state or "heads.bnneck.weight" in state:
            stems = ["3/2/1"]
        elif "heads.weight" in state:
            stems = ["3/2/ceil"]
        return tuple(f"{pool}-{stem}" for stem in stems for pool in pools)

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        pool, stem = (variant or self.variants(state, {})[0]).split("-")
        backbone: Body | ResNeSt
        if "backbone.conv1.0.weight" in state:
            backbone = resnest_of(state, "backbone.", path)
        else:
            backbone = body_of(state, "backbone.", path, relu=True, pool=stem)
        first = state.get("heads.bottleneck.0.weight")
        reduced = len(first) if first is not None and first.ndim == 4 else 0
        neck = "bnneck" if any(key.startswith("heads.bnneck.") for key in state) else "bottleneck"
        model = FastReid(backbone, pooling(pool), neck, reduced).eval()
        return model, load_strictly(model, state, path, IGNORED)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> InputSpec:
        height = 384 if EXPONENT in state else 256
        mean = _channels(state.get("pixel_mean"), IMAGENET_MEAN)
        std = _channels(state.get("pixel_std"), IMAGENET_STD)
        return InputSpec(height, 128, resize="bicubic", scale=255, mean=mean, std=std)


def _channels(pixels: Tensor | None, usual: Channels) -> Channels:
    values = [255 * value for value in usual] if pixels is None else pixels.flatten().tolist()
    return tuple(values)  # InputSpec refuses other than three
