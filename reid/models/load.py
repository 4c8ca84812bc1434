"""A victim from a file of any known family of models."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reid.errors import CheckpointError
from reid.models.checkpoint import read_content
from reid.models.families import FAMILIES, Family
from reid.models.victim import Victim
from reid.runtime.files import sha256

logger = logging.getLogger(__name__)


def load_victim(spec: str | Path, *, arch: str | None = None, size: tuple[int, int] | None = None) -> Victim:
    """The model in a checkpoint as a Victim; the keys tell its family, the last registered of several that fit.

    `size` is the (height, width) of the images that it will get, by default that on which it was trained, where the
    file says so. Warns when the two differ. Raises CheckpointError when the file is of another architecture than
    `arch`, if given, or of no known family.
    """
    state, content = read_content(spec)
    family = _family_of(state)
    module, _ = family.build(state, spec)
    trained = _trained_size(content)
    if size is not None and trained not in (None, size):
        logger.warning("%s was trained on %d x %d images, not %d x %d; see --height and --width", spec, *trained, *size)
    input = family.input(state, content)
    if input.resize is None:
        height, width = size or trained or (input.height, input.width)
        input = dataclasses.replace(input, height=height, width=width)
    victim = Victim(module, input, name=Path(spec).name, sha256=sha256(spec), feature=family.feature)
    if arch not in (None, victim.arch):
        raise CheckpointError(f"{spec} is a {victim.arch}, not a {arch}; use -a {victim.arch}, or leave -a out")
    return victim


def _family_of(state: Mapping[str, Tensor]) -> Family:
    """The family that knows the keys; without one the ResNets, which say what is wrong with the file."""
    for name in reversed([*FAMILIES]):
        family = FAMILIES[name]()
        if family.matches(state):
            return family
    return FAMILIES["resnet"]()


def _trained_size(content: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the training images, where `save_checkpoint` wrote them into the file."""
    height, width = content.get("height"), content.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
