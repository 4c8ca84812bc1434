"""A victim from a file of any known family of models."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid.errors import CheckpointError, few
from reid.models.checkpoint import read_content
from reid.models.families import FAMILIES
from reid.models.victim import Victim
from reid.runtime.files import sha256

logger = logging.getLogger(__name__)


def load_victim(
    spec: str | Path, *, arch: str | None = None, size: tuple[int | None, int | None] = (None, None)
) -> Victim:
    """The model in a checkpoint as a Victim; the keys tell its family, the last registered of several that fit.

    `size` is the (height, width) of the images that it will get; None is what it was trained on, as far as known. Warns
    when they differ. Raises CheckpointError for another architecture than `arch`, or no known family.
    """
    state, content = read_content(spec)
    families = [FAMILIES[name]() for name in reversed([*FAMILIES])]
    family = next((each for each in families if each.matches(state)), FAMILIES["resnet"]())  # says what is wrong
    module, _ = family.build(state, spec)
    taken, *others = family.variants(state, content)
    if others:
        logger.warning("%s does not say which network it is; taken: %s; or: %s", spec, taken, few(others))
    input = family.input(state, content)
    trained = _trained_size(content)
    usual = trained or input.size
    used = height, width = size[0] or usual[0], size[1] or usual[1]
    if trained not in (None, used):
        logger.warning("%s was trained on %d x %d images, not %d x %d; see --height and --width", spec, *usual, *used)
    if input.resize is None:
        input = dataclasses.replace(input, height=height, width=width)
    victim = Victim(module, input, name=Path(spec).name, sha256=sha256(spec), feature=family.feature)
    if arch not in (None, victim.arch):
        raise CheckpointError(f"{spec} is a {victim.arch}, not a {arch}; use -a {victim.arch}, or leave -a out")
    return victim


def trained_size(path: str | Path) -> tuple[int, int] | None:
    """Height and width of the images on which the model in a checkpoint was trained, where the file says so."""
    return _trained_size(read_content(path)[1])


def _trained_size(content: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = content.get("height"), content.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
