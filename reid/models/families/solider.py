"""SOLIDER: a Swin transformer that is told how much meaning, and not looks, its features should have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole
from reid.models.families.swin import DEPTHS, Swin
from reid.models.families.transformers import HALF, chosen, has, reduction
from reid.models.inputs import InputSpec

WEIGHTS = {"semantic weight 0.2": 0.2, "semantic weight 1": 1.0}  # the authors' for re-ID; their default
TABLE = "base.stages.0.blocks.0.attn.w_msa.relative_position_bias_table"
UNUSED = ("base.norm0.", "base.norm1.", "base.norm2.", "base.semantic_embed_w.3.", "base.semantic_embed_b.3.")


class SoliderFamily(Family):
    """Widths, heads, depths (Swin-T, S or B) and a reduced feature come from the keys."""

    feature = "average of the normalised last stage, before the neck"
    told_by = "base.stages.*.attn.w_msa.*, base.patch_embed.projection.weight; base.semantic_embed_w.*"
    traps = (
        "The semantic weight is an input of the network, changes the features, and is not in the file; nor is the size "
        "of the images, 384x128 in all recipes of its authors."
    )
    seen = "tinyvision/SOLIDER-REID @ 8c08e1c"
    distance = "cosine"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        return has(state, {TABLE: 2, "base.patch_embed.projection.weight": 4})

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(WEIGHTS)

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        weight = chosen(WEIGHTS, variant, path)
        indices = tuple(key for key in state if key.endswith(".w_msa.relative_position_index"))  # always the same
        ignored = ("bottleneck.", "classifier.", *UNUSED, *indices)
        return load_whole(lambda: Solider(state, weight), state, path, ignored)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return InputSpec(384, 128, mean=HALF, std=HALF)


class Solider(nn.Module):
    """Normalised images (N, 3, H, W) to features (N, D)."""

    def __init__(self, state: Mapping[str, Tensor], semantic_weight: float) -> None:
        super().__init__()
        width, heads = len(state["base.patch_embed.projection.weight"]), state[TABLE].shape[1]
        deep = any(key.startswith(f"base.stages.2.blocks.{DEPTHS[2]}.") for key in state)
        depths = (2, 2, 18, 2) if deep else DEPTHS
        self.arch = f"solider-swin-{width}x{sum(depths)}"
        self.base = Swin(width, heads, semantic_weight, depths)
        self.fcneck = reduction(state, 8 * width)

    def forward(self, images: Tensor) -> Tensor:
        return self.fcneck(self.base(images))
