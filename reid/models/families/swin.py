"""The Swin transformer of SOLIDER, under its key names; maps are (N, H, W, width)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_unshuffle, softplus

from reid.models.families.bodies import named
from reid.models.families.transformers import attention

PATCH, WINDOW = 4, 7
DEPTHS = (2, 2, 6, 2)


class Swin(nn.Module):
    """Normalised images (N, 3, H, W) to the average (N, 8 * width) of the last of four stages.

    Width and heads double from stage to stage. The map that goes to the next stage is scaled and shifted by how much
    `semantic_weight` in [0, 1] asks for the meaning of what is seen, and not for its looks.
    """

    def __init__(self, width: int, heads: int, semantic_weight: float, depths: tuple[int, ...] = DEPTHS) -> None:
        super().__init__()
        self.semantic_weight = semantic_weight
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.patch_embed = nn.ModuleDict({"projection": nn.Conv2d(3, width, PATCH, PATCH), "norm": nn.LayerNorm(width)})
        self.stages = nn.ModuleList(
            Stage(widths[i], heads * 2**i, depth, merged=i < len(depths) - 1) for i, depth in enumerate(depths)
        )
        self.semantic_embed_w = nn.ModuleList(nn.Linear(2, w) for w in widths[1:])
        self.semantic_embed_b = nn.ModuleList(nn.Linear(2, w) for w in widths[1:])
        self.norm3 = nn.LayerNorm(widths[-1])

    def forward(self, images: Tensor) -> Tensor:
        images = _padded(images.movedim(1, -1), PATCH).movedim(-1, 1)
        x = self.patch_embed["norm"](self.patch_embed["projection"](images).movedim(1, -1))
        semantic = x.new_tensor([self.semantic_weight, 1 - self.semantic_weight])
        for stage, scale, shift in zip(self.stages, self.semantic_embed_w, self.semantic_embed_b, strict=False):
            x = stage(x) * softplus(scale(semantic)) + shift(semantic)
        return self.norm3(self.stages[-1](x)).mean((1, 2))


class Stage(nn.Module):
    """Blocks, of which every second one shifts its windows, and a merging of four neighbours into one."""

    def __init__(self, width: int, heads: int, depth: int, merged: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width, heads, shift=WINDOW // 2 * (i % 2)) for i in range(depth)))
        self.downsample = Merging(width) if merged else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(self.blocks(x))


class Merging(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        neighbours = pixel_unshuffle(_padded(x, 2).movedim(-1, 1), 2).movedim(1, -1)
        return self.reduction(self.norm(neighbours))


class Block(nn.Module):
    """Attention within windows and a perceptron, each after its normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"w_msa": WindowAttention(width, heads)})
        first = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU())
        self.ffn = named(layers=nn.Sequential(first, nn.Linear(4 * width, width)))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        rolled = _padded(self.norm1(x), WINDOW).roll((-self.shift, -self.shift), dims=(1, 2))
        mixed = self.attn["w_msa"](_windows(rolled), _parts(rolled, self.shift) if self.shift else None)
        mixed = _joined(mixed, rolled.shape[1] // WINDOW).roll((self.shift, self.shift), dims=(1, 2))
        x = x + mixed[:, :height, :width]
        return x + self.ffn(self.norm2(x))


class WindowAttention(nn.Module):
    """Windows (N, windows, 49, width) mixed within themselves, and within equal `parts` (windows, 49) if given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, heads))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, windows: Tensor, parts: Tensor | None) -> Tensor:
        line = torch.arange(WINDOW, device=windows.device)
        place = ((2 * WINDOW - 1) * line[:, None] + line).flatten()
        bias = self.relative_position_bias_table[place[:, None] - place + place[-1]].permute(2, 0, 1)
        if parts is not None:
            bias = bias - 100.0 * (parts[:, None, :, None] != parts[:, None, None, :])
        return self.proj(attention(self.qkv(windows), self.heads, bias=bias))


def _padded(x: Tensor, multiple: int) -> Tensor:
    """With zeros below and to the right, to sides that are multiples."""
    return pad(x, (0, 0, 0, -x.shape[2] % multiple, 0, -x.shape[1] % multiple))


def _windows(x: Tensor) -> Tensor:
    """(N, H, W, width) to (N, windows, 49, width)."""
    return x.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _joined(windows: Tensor, rows: int) -> Tensor:
    """Back from `_windows`."""
    x = windows.unflatten(2, (WINDOW, WINDOW)).unflatten(1, (rows, -1))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _parts(rolled: Tensor, shift: int) -> Tensor:
    """Which places of each window (windows, 49) were neighbours before the map was rolled: those of equal numbers."""
    rows, columns = (
        torch.bucketize(torch.arange(side), torch.tensor([side - WINDOW, side - shift]), right=True)
        for side in rolled.shape[1:3]
    )
    return _windows((3 * rows[:, None] + columns)[None, :, :, None])[0, :, :, 0].to(rolled.device)
