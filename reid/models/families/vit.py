"""The vision transformer of TransReID and its relatives, under their key names."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from reid.models.families.bodies import IBN, named, rows
from reid.models.families.transformers import PATCH, Reading, attention

CODE_SCALE = 3.0  # of the camera codes
STEM = 64  # channels between a convolutional stem and the patches
layer_norm = partial(nn.LayerNorm, eps=1e-6)


class Tokens(nn.Module):
    """Normalised images (N, 3, H, W) to tokens (N, 1 + patches, width), the class token first."""

    def __init__(
        self, state: Mapping[str, Tensor], reading: Reading, blocks: Sequence[nn.Module], norm: nn.Module
    ) -> None:
        super().__init__()
        self.reading, width = reading, state["base.cls_token"].shape[2]
        patches = nn.Conv2d(3, width, PATCH, reading.stride)
        if convolutional(state):
            patches = nn.Conv2d(STEM, width, PATCH // 2, PATCH // 2)
        stem = {"conv": convolutions(STEM)} if convolutional(state) else {}
        self.patch_embed = named(**stem, proj=patches)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, state["base.pos_embed"].shape[1], width))
        codes = rows(state, "base.sie_embed", 0)
        self.sie_embed = nn.Parameter(torch.empty(codes, 1, width)) if codes else None
        self.blocks, self.norm = nn.ModuleList(blocks), norm

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], dim=1) + self.pos_embed
        if self.sie_embed is not None:
            tokens = tokens + CODE_SCALE * self.reading.of_codes(self.sie_embed)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class Block(nn.Module):
    """Attention and a perceptron, each after its normalisation and around a shortcut."""

    def __init__(self, width: int, biased: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = layer_norm(width), layer_norm(width)
        self.attn, hidden = Attention(width, biased), (4 if biased else 3) * width
        self.mlp = named(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Attention(nn.Module):
    """Heads of 64 channels; without biases it is the old ViT-S: 8 heads, and scores scaled by the whole width."""

    def __init__(self, width: int, biased: bool) -> None:
        super().__init__()
        self.heads = max(width // 64, 1) if biased else 8
        self.scale = None if biased else width**-0.5
        self.qkv = nn.Linear(width, 3 * width, bias=biased)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.proj(attention(self.qkv(tokens), self.heads, self.scale))


def convolutional(state: Mapping[str, Tensor]) -> bool:
    """Whether convolutions come before the patches."""
    return state["base.patch_embed.proj.weight"].shape[1] != 3


def convolutions(channels: int) -> nn.Sequential:
    """Three of them, of which the first halves the image."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False), IBN(channels)]
    for norm in (IBN, nn.BatchNorm2d):
        layers += [nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm(channels)]
    return nn.Sequential(*layers, nn.ReLU())
