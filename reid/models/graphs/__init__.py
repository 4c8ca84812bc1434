"""Models that are files of operators, ONNX and OpenVINO: turned into torch and proven, or scored by their runtime."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reid.models.inputs import InputSpec

LARGEST_DIFFERENCE = 1e-3  # relative to the largest feature, between torch and the file's own runtime
PROBES = 3


@dataclass(frozen=True)
class Contract:
    """What a file wants: images (batch, 3, height, width), channels last if so; None is free."""

    batch: int | None
    height: int | None
    width: int | None
    channels_last: bool = False
    dtype: str = "float32"


@dataclass(frozen=True)
class Graph:
    """A model from a file of operators, images to features, as the `contract` has them.

    `names` are those of its weights and layers, which may tell a family. `report` says whether it gives gradients, and
    how near it is to the file's own runtime. `input` is how it reads images, where that is known, and `stated` whether
    the file itself says so. `distance` is that between its features, a name of DISTANCES.
    """

    network: Callable[[Tensor], Any]
    contract: Contract
    names: frozenset[str]
    report: str
    input: InputSpec | None = None
    stated: bool = False
    distance: str = "cosine"


class Scores:
    """A runtime of arrays as a network without gradients. `run` takes an array as the contract has it."""

    def __init__(self, run: Callable[[np.ndarray], list[np.ndarray]], contract: Contract, arch: str) -> None:
        self._run, self.contract, self.arch = run, contract, arch

    def __call__(self, images: Tensor) -> list[Tensor]:
        array = images.detach().float().cpu().numpy()
        if self.contract.channels_last:
            array = array.transpose(0, 2, 3, 1)
        batch = self.contract.batch or len(array)
        parts = [self._padded(array[i : i + batch], batch) for i in range(0, len(array), batch)]
        return [torch.from_numpy(np.concatenate(part)).to(images.device) for part in zip(*parts, strict=True)]

    def _padded(self, array: np.ndarray, batch: int) -> list[np.ndarray]:
        missing = batch - len(array)
        full = np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
        outputs = self._run(np.ascontiguousarray(full, dtype=self.contract.dtype))
        return [output[: len(array)] for output in outputs]


class InBatches(nn.Module):
    """A network that takes batches of one size only, for any number of images: the last batch is filled up."""

    def __init__(self, network: nn.Module, batch: int) -> None:
        super().__init__()
        self.network, self.batch = network, batch

    def forward(self, images: Tensor) -> list[Tensor]:
        missing = -len(images) % self.batch
        full = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images
        parts = [as_list(self.network(part)) for part in full.split(self.batch)]
        return [torch.cat(part)[: len(images)] for part in zip(*parts, strict=True)]


def as_list(outputs: Any) -> list[Tensor]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def difference(network: Callable[[Tensor], Any], reference: Scores, contract: Contract) -> float:
    """The largest difference of any output between the two, relative to the output's largest value.

    Measured on random images in [0, 1] and the same in [0, 255], more of them than one. What the network raises, or
    gives as not finite, is an infinite difference.
    """
    generator = torch.Generator().manual_seed(0)
    size = (contract.height or 256, contract.width or 128)
    unit = torch.rand(PROBES, 3, *size, generator=generator)
    worst = 0.0
    for images in (unit, 255 * unit):
        expected = reference(images)
        try:
            with torch.no_grad():
                actual = as_list(network(images))
        except Exception:  # whatever a converted network raises
            return float("inf")
        for mine, theirs in zip(actual, expected, strict=False):
            gap = (mine.float() - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)
            worst = max(worst, float(gap) if mine.isfinite().all() else float("inf"))
    return worst


def proven(networks: list[nn.Module], reference: Scores, contract: Contract, runtime: str) -> tuple[Any, str]:
    """The first of the networks that equals the reference, with a line on it; else the reference, without gradients."""
    least = float("inf")
    for network in networks:
        least = min(least, difference(network, reference, contract))
        if least <= LARGEST_DIFFERENCE:
            return network, f"turned into torch, with gradients; differs from {runtime} by {least:.0e} at most"
    reason = f"differs from {runtime} by {least:.0e}" if np.isfinite(least) else "could not be turned into torch"
    return reference, f"{reason}: scores only, through {runtime}, without gradients"
