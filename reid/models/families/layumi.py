"""layumi's Person_reID_baseline_pytorch: ResNet-50 with a linear block, with IBN, and PCB."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import normalize

from reid.errors import CheckpointError, few
from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole, named, resnet_of, rows
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from reid.runtime.registry import unknown

logger = logging.getLogger(__name__)

SAID, ONE, TWO = "stride that opts.yaml says, or 2", "stride 1", "stride 2"
FIRST = "classifier.add_block.0.weight"  # of the linear layer, or of the normalisation where there is none
PARTS = 6


class LayumiFamily(Family):
    """Keys tell PCB, IBN and the linear block; the last stride is in `opts.yaml`, which its authors save too."""

    feature = "linear block (512) of the image plus that of its mirror image, scaled to unit length; PCB: six parts"
    told_by = "model.layer1.0.conv1.weight, classifier.add_block.0.weight; PCB: classifier0.add_block.0.weight"
    traps = (
        "Keys cannot tell the last stride: keep opts.yaml beside the file. A feature takes two passes. Other bodies "
        "(DenseNet, HRNet, EfficientNet, NASNet, Swin, ConvNeXt, DINO) are known and refused."
    )
    seen = "layumi/Person_reID_baseline_pytorch @ 82ff40f"
    distance = "cosine"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        block = FIRST in state or _pcb(state)
        return block and any(key.startswith("model.") for key in state)

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        return ("",) if _pcb(state) else (SAID, ONE)

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        if "model.layer1.0.conv1.weight" not in state:
            others = few(key for key in state if key.startswith("model."))
            problem = f"whose body ({others}) is no ResNet; export it to ONNX with its add_block, and give that file"
            raise CheckpointError(f"{path} is a model of layumi's baseline {problem}")
        ignored = ("model.fc.", "n_averaged", "classifier" if _pcb(state) else "classifier.classifier.")
        stride = 1 if _pcb(state) else last_stride(path, variant)
        return load_whole(lambda: Layumi(state, path, stride), state, path, ignored)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        height, width = (384, 192) if _pcb(state) else (256, 128)
        return InputSpec(height, width, resize="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)


class Layumi(nn.Module):
    """Normalised images (N, 3, H, W) to features (N, D); those of PCB have their parts side by side per channel."""

    def __init__(self, state: Mapping[str, Tensor], path: str | Path, stride: int) -> None:
        super().__init__()
        self.model = resnet_of(state, path, "model.", last_stride=stride)
        self.arch, self.parts = f"layumi-{self.model.arch}-stride{stride}", 1
        if _pcb(state):
            self.model.avgpool, self.parts, self.arch = nn.AdaptiveAvgPool2d((PARTS, 1)), PARTS, "layumi-pcb"
            return
        width, bare = rows(state, FIRST), state[FIRST].ndim == 1
        linear = [] if bare else [nn.Linear(2048, width)]
        self.classifier = named(add_block=nn.Sequential(*linear, nn.BatchNorm1d(width)))

    def forward(self, images: Tensor) -> Tensor:
        pooled = (self.model(view) for view in (images, images.flip(3)))
        features = sum(pooled if self.parts > 1 else map(self.classifier, pooled))
        return normalize(features.unflatten(1, (-1, self.parts))).flatten(1) / self.parts**0.5


def last_stride(path: str | Path, variant: str) -> int:
    """The last stride of a variant; without one, of the `opts.yaml` beside the file. Warns where nothing says it."""
    if variant not in ("", SAID, ONE, TWO):
        raise unknown("variant", variant, [SAID, ONE, TWO])
    if variant in (ONE, TWO):
        return 1 if variant == ONE else 2
    options = Path(path).with_name("opts.yaml")
    text = options.read_text(errors="replace") if options.is_file() else ""
    said = re.search(r"^stride:\s*([12])\s*$", text, re.MULTILINE)
    if said is None:
        logger.warning("%s is taken to have last stride 2, which keys cannot tell; its opts.yaml beside it would", path)
        return 2
    return int(said[1])


def _pcb(state: Mapping[str, Tensor]) -> bool:
    return "classifier0.add_block.0.weight" in state
