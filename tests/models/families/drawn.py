"""Weights drawn by key name and drawn images: the same in a public implementation and in ours, on every machine."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[2] / "data" / "families"
SHOWN = 64  # values of each feature that a golden file holds, evenly spaced


def drawn_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """A state dict for keys and shapes; each tensor depends on its key and shape alone.

    Weights keep the size of what goes through them; biases and running means are small, running variances and the
    one-dimensional weights of normalisations near 1, as exponents of pooling; counters 0.
    """
    return {key: _drawn(key, tuple(shape)) for key, shape in shapes.items()}


def _drawn(key: str, shape: tuple[int, ...]) -> Tensor:
    name = key.rpartition(".")[2]
    if name == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    if name.startswith("pixel_"):  # mean and deviation, for pixels in [0, 255]
        return torch.from_numpy(100 + 20 * np.tanh(values))
    if name == "running_var" or (name in ("weight", "p") and len(shape) == 1):
        return torch.from_numpy(np.asarray(1 + 0.2 * np.tanh(values), dtype=np.float32))
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 100
    if "NL_" in key:  # non-local blocks take the third power of what goes through them
        values *= np.float32(0.01)
    return torch.from_numpy(np.asarray(values * np.float32((2 / max(fan_in, 1)) ** 0.5), dtype=np.float32))


def drawn_images(height: int, width: int, count: int = 3) -> Tensor:
    """Smooth coloured images (count, 3, height, width), RGB in [0, 1], which differ from each other."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = [
        torch.stack([(1 + torch.sin(6 * (i + 1) * x + 4 * (c + 1) * y + i + c)) / 2 for c in range(3)])
        for i in range(count)
    ]
    return torch.stack(waves)


def summary(features: Tensor) -> dict[str, Any]:
    """What a golden file holds of features (N, D): their width, lengths, and some values of each."""
    places = torch.linspace(0, features.shape[1] - 1, SHOWN).round().long()
    return {
        "width": features.shape[1],
        "lengths": features.norm(dim=1).tolist(),
        "values": features[:, places].tolist(),
    }


def read_golden(name: str) -> dict[str, Any]:
    """A golden file: repository, commit, how its features were made, `keys` (name -> shape) and `features`.

    `keys` may be the name of another golden file, which has the same.
    """
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    if isinstance(golden["keys"], str):
        golden["keys"] = read_golden(golden["keys"])["keys"]
    return golden
