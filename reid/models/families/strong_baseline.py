"""reid-strong-baseline (BoT), and the ResNets of TransReID and SOLIDER-REID, which have its keys and other stems."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole, rows
from reid.models.families.parts import Body, chosen, pooling
from reid.models.inputs import IMAGENET_MEAN, IMAGENET_STD, InputSpec

STEMS = {  # ReLU or not, and max-pooling
    "bot": (False, "3/2/1"),
    "torchvision": (True, "3/2/1"),
    "transreid": (False, "2/2/0"),
    "solider": (True, "2/2/0"),
}
IGNORED = ("classifier.", "base.fc.")


class Baseline(nn.Module):
    """Images to features (N, D): body, pooling, perhaps a reduction, and the batch norm of the neck if `after`."""

    def __init__(self, state: Mapping[str, Tensor], base: Body, *, pool: str = "avg", after: bool = True) -> None:
        super().__init__()
        width = rows(state, "bottleneck.weight")
        self.base, self.global_pool, self.arch, self.after = base, pooling(pool), base.arch, after
        self.fcneck = nn.Linear(base.width, width, bias=False) if "fcneck.weight" in state else nn.Identity()
        self.bottleneck = nn.BatchNorm1d(width)

    def forward(self, images: Tensor) -> Tensor:
        feature = self.fcneck(self.global_pool(self.base(images)).flatten(1))
        return self.bottleneck(feature) if self.after else feature


class StrongBaseline(Family):
    """Variants are a stem and whether the feature is taken before or after the neck, such as `bot-after`."""

    feature = "after the batch norm of the neck (TransReID and SOLIDER-REID: before it), not normalised"
    told_by = "base.layer1.*, bottleneck.*, no base.NL_*, global_pool.p or feat.*; base.*.bn1.IN.* with IBN-a"
    traps = (
        "keys cannot tell four stems: no ReLU (BoT), ReLU (its corrected copies), no ReLU and max-pool 2/2/0 "
        "(TransReID), ReLU and max-pool 2/2/0 (TransReID-SSL, SOLIDER-REID); with IBN-a it is always ReLU and 3/2/1"
    )
    seen = (
        "michuanhaohao/reid-strong-baseline @ 3da7e6f, damo-cv/TransReID @ dec5504, damo-cv/TransReID-SSL @ fc39e88, "
        "tinyvision/SOLIDER-REID @ 8c08e1c"
    )
    distance = "cosine"  # it ranks features of unit length by euclidean distance, which is the same order

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        others = any(key.startswith(("base.NL_", "global_pool.", "feat.", "base.feature.")) for key in state)
        body = any(key.startswith("base.layer1.") for key in state)
        return body and "bottleneck.weight" in state and not others

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        stems = list(STEMS)
        if any(".bn1.IN." in key for key in state):
            stems = ["torchvision"]
        elif "fcneck.weight" in state:
            stems = ["solider"]
        later = ("transreid", "solider")
        return tuple(f"{stem}-{neck}" for stem in stems for neck in ("after", "before")[:: -1 if stem in later else 1])

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        stem, neck = chosen(variant, self.variants(state, {})).split("-")
        relu, pool = STEMS[stem]

        def make() -> nn.Module:
            body = Body(state, path, "base.", relu=relu, pool=pool)
            return Baseline(state, body, after=neck == "after")

        return load_whole(make, state, path, IGNORED)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return InputSpec(256, 128, mean=IMAGENET_MEAN, std=IMAGENET_STD)
