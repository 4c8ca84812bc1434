"""TransReID and its self-supervised relatives: a ViT over (overlapping) patches, camera codes, jigsaw parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole, rows
from reid.models.families.transformers import PATCH, Reading, chosen, has, readings, reduction
from reid.models.families.vit import Block, Tokens, convolutional, layer_norm
from reid.models.inputs import InputSpec

PARTS, GROUPS = 4, 2  # of the jigsaw
OF_JIGSAW = ("b1.", "b2.", "bottleneck_", "classifier_")  # keys that no other has


class TransReIDFamily(Family):
    """Width, depth, stem, jigsaw, a reduced feature and the number of camera codes come from the keys."""

    feature = "class token before the neck; with a jigsaw five of them, those of its four parts divided by 4"
    told_by = "base.cls_token, base.pos_embed, base.patch_embed.proj.weight; base.sie_embed (cameras); b1, b2 (jigsaw)"
    traps = (
        "Images have no camera here: its codes are averaged unless a variant names one; their scale, 3, is not in the "
        "file. What was trained from DeiT-B wants ImageNet's mean and deviation, which keys cannot tell. The jigsaw of "
        "square images (vehicles) shifts by 8, not 5. Pooling of patches (GeM) leaves no key and is never assumed."
    )
    seen = "damo-cv/TransReID @ dec5504, damo-cv/TransReID-SSL @ fc39e88, hustvl/PersonViT @ 4573df5"
    distance = "cosine"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        needed = {"base.cls_token": 3, "base.pos_embed": 3, "base.patch_embed.proj.weight": 4}
        return has(state, needed) and "base.part_token1" not in state  # which PASS has

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(_readings(state))

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        reading = chosen(_readings(state), variant, path)
        unused = (f"base.blocks.{_depth(state) - 1}.", "base.norm.") if _jigsaw(state) else ()
        ignored = ("base.fc.", "bottleneck", "classifier", *unused)
        return load_whole(lambda: TransReID(state, reading), state, path, ignored)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return chosen(_readings(state), variant, "the file").input()


class TransReID(nn.Module):
    """Normalised images (N, 3, H, W) to features (N, width), or (N, 5 * width) with a jigsaw."""

    def __init__(self, state: Mapping[str, Tensor], reading: Reading) -> None:
        super().__init__()
        width, depth, jigsaw = state["base.cls_token"].shape[2], _depth(state), _jigsaw(state)
        self.arch = f"transreid-{width}x{depth}-stride{reading.stride}{'-jpm' * jigsaw}"
        self.shift = 8 if reading.height == reading.width else 5
        blocks = [Block(width, _biased(state)) for _ in range(depth + jigsaw)]
        self.base = Tokens(state, reading, blocks[: depth - jigsaw], nn.Identity() if jigsaw else layer_norm(width))
        self.b1, self.b2 = (nn.Sequential(block, layer_norm(width)) if jigsaw else None for block in blocks[-2:])
        self.fcneck = reduction(state, width)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.base(images)
        if self.b1 is None or self.b2 is None:
            return self.fcneck(tokens[:, 0])
        length = (tokens.shape[1] - 1) // PARTS
        parts = _shuffled(tokens[:, 1:], self.shift)[:, : PARTS * length].split(length, dim=1)
        local = [self.b2(torch.cat([tokens[:, :1], part], dim=1))[:, 0] / PARTS for part in parts]
        return torch.cat([self.b1(tokens)[:, 0], *local], dim=1)


def _shuffled(patches: Tensor, shift: int) -> Tensor:
    """Patches (N, patches, width), rolled and then taken from the groups in turn; the last but one twice if need be."""
    patches = patches.roll(1 - shift, dims=1)
    if patches.shape[1] % GROUPS:
        patches = torch.cat([patches, patches[:, -2:-1]], dim=1)
    return patches.unflatten(1, (GROUPS, -1)).transpose(1, 2).flatten(1, 2)


def _readings(state: Mapping[str, Tensor]) -> dict[str, Reading]:
    positions, patch = state["base.pos_embed"].shape[1], state["base.patch_embed.proj.weight"].shape[3]
    if convolutional(state):  # which halve the image, so that patches cannot overlap
        return readings(positions - 1, rows(state, "base.sie_embed", 0), 2 * patch, strides=(PATCH,))
    return readings(positions - 1, rows(state, "base.sie_embed", 0), patch)


def _jigsaw(state: Mapping[str, Tensor]) -> bool:
    return any(key.startswith(OF_JIGSAW) for key in state)


def _biased(state: Mapping[str, Tensor]) -> bool:
    return any(key.endswith(".attn.qkv.bias") for key in state)


def _depth(state: Mapping[str, Tensor]) -> int:
    return 12 if _biased(state) else 8  # one that is not so has other keys
