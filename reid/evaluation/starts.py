"""Where the search for a perturbation begins: at one that does nothing, anywhere in the budget, or at another one."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from reid import attacks
from reid.attacks.folders import size_of
from reid.attacks.universal.perturbations import Perturbation
from reid.errors import UsageError
from reid.runtime.files import sha256


class WarmStart(NamedTuple):
    """A perturbation that was learnt before, on this model or another, and the hash of its file."""

    noise: Perturbation
    sha256: str


def warm_starts(paths: Sequence[str], met: str, height: int, width: int) -> list[WarmStart]:
    """The perturbations in files, for images of `height` x `width`. `met` holds the hashes of the files that the model
    was trained on.

    Raises UsageError for one of these, which says little of a model that has learnt to withstand it, and for another
    size; CheckpointError for a file of no perturbation.
    """
    starts = [WarmStart(attacks.load(path), sha256(path)) for path in paths]
    for path, (noise, digest) in zip(paths, starts, strict=True):
        if digest in met:
            raise UsageError(f"--warm-start {path}: the model was trained on this perturbation; start from others")
        size = size_of(noise)
        if size not in (None, (height, width)):
            raise UsageError(f"--warm-start {path} is for images of {size}, not {(height, width)}; leave it out")
    return starts


def begin_(noise: Perturbation, restart: int, random: torch.Generator, warm: WarmStart | None = None) -> None:
    """Move a new perturbation to its start, in place: restart 0 does nothing, the odd ones begin anywhere in the
    budget, the even ones in a corner. A warm start gives the components that it has, cut to the budget."""
    if warm is not None:
        given = {layer.component: layer.state_dict() for layer in warm.noise.layers()}
        for layer in noise.layers():
            layer.load_state_dict(given.get(layer.component, layer.state_dict()))
        noise.project_()
    elif restart:
        noise.randomise_(random, corners=restart % 2 == 0)
