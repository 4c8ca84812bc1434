"""CLIP-ReID: the image side of CLIP's ViT-B/16, two class tokens side by side, camera codes; no text is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from reid.errors import CheckpointError
from reid.models.checkpoint import LoadReport
from reid.models.families import Family
from reid.models.families.bodies import load_whole, named, rows
from reid.models.families.transformers import PATCH, Reading, attention, chosen, has, readings
from reid.models.inputs import InputSpec

DEPTH = 12
IGNORED = ("prompt_learner.", "text_encoder.", "bottleneck", "classifier")  # the text side and the heads


class ClipReidFamily(Family):
    """Width, grid and number of camera codes come from the keys. Its CNN is known, and refused."""

    feature = "class token and its projection into CLIP's space (768 + 512), before the necks"
    told_by = "image_encoder.class_embedding, .positional_embedding, .conv1.weight, .proj; cv_embed (cameras)"
    traps = (
        "Images have no camera here: its codes are averaged unless a variant names one; their scale, 1, is not in the "
        "file. The text side is not used. Its CNN (image_encoder.attnpool) is another network, and refused."
    )
    seen = "Syliz517/CLIP-ReID @ eb1898b"
    distance = "cosine"

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        needed = {"class_embedding": 1, "positional_embedding": 2, "conv1.weight": 4, "proj": 2}
        return _cnn(state) or has(state, {f"image_encoder.{key}": count for key, count in needed.items()})

    def variants(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(_readings(state))

    def build(self, state: Mapping[str, Tensor], path: str | Path, variant: str = "") -> tuple[nn.Module, LoadReport]:
        reading = chosen(_readings(state, path), variant, path)
        return load_whole(lambda: ClipReid(state, reading), state, path, IGNORED)

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any], variant: str = "") -> InputSpec:
        return chosen(_readings(state), variant, "the file").input()


class ClipReid(nn.Module):
    """Normalised images (N, 3, H, W) to features (N, width + projection)."""

    def __init__(self, state: Mapping[str, Tensor], reading: Reading) -> None:
        super().__init__()
        self.arch, self.reading = f"clip-reid-vit-b16-stride{reading.stride}", reading
        self.image_encoder = ImageEncoder(state, reading)
        codes = rows(state, "cv_embed", 0)
        self.cv_embed = nn.Parameter(torch.empty(codes, self.image_encoder.width)) if codes else None

    def forward(self, images: Tensor) -> Tensor:
        code = 0.0 if self.cv_embed is None else self.reading.of_codes(self.cv_embed)
        return self.image_encoder(images, code)


class ImageEncoder(nn.Module):
    """As ClipReid; `code` is added to the class token before the blocks."""

    def __init__(self, state: Mapping[str, Tensor], reading: Reading) -> None:
        super().__init__()
        self.width = len(state["image_encoder.class_embedding"])
        positions, space = (state[f"image_encoder.{key}"].shape for key in ("positional_embedding", "proj"))
        self.conv1 = nn.Conv2d(3, self.width, PATCH, reading.stride, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(self.width))
        self.positional_embedding = nn.Parameter(torch.empty(positions[0], self.width))
        self.ln_pre, self.ln_post = nn.LayerNorm(self.width), nn.LayerNorm(self.width)
        self.transformer = named(resblocks=nn.Sequential(*(Block(self.width) for _ in range(DEPTH))))
        self.proj = nn.Parameter(torch.empty(self.width, space[-1]))

    def forward(self, images: Tensor, code: Tensor | float) -> Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        first = (self.class_embedding + code).expand(len(images), 1, -1)
        tokens = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        feature = self.ln_post(self.transformer(tokens)[:, 0])
        return torch.cat([feature, feature @ self.proj], dim=1)


class Block(nn.Module):
    """Attention with heads of 64 channels and a perceptron, each after its normalisation and around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, max(width // 64, 1))  # its weights; see `attention`
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = named(c_fc=nn.Linear(width, 4 * width), gelu=QuickGELU(), c_proj=nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        qkv = linear(self.ln_1(tokens), self.attn.in_proj_weight, self.attn.in_proj_bias)
        tokens = tokens + self.attn.out_proj(attention(qkv, self.attn.num_heads))
        return tokens + self.mlp(self.ln_2(tokens))


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def _cnn(state: Mapping[str, Tensor]) -> bool:
    return any(key.startswith("image_encoder.attnpool.") for key in state)


def _readings(state: Mapping[str, Tensor], path: str | Path = "the file") -> dict[str, Reading]:
    if _cnn(state):
        problem = "a ResNet with attention pooling, which is not read here"
        raise CheckpointError(f"{path} is the CNN of CLIP-ReID, {problem}; export it to ONNX, or take CLIP-ReID's ViT")
    patches, positions = (state[f"image_encoder.{key}"].shape for key in ("conv1.weight", "positional_embedding"))
    return readings(positions[0] - 1, rows(state, "cv_embed", 0), patches[3])
