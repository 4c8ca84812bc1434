"""A victim from a file of any known family of models."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

from reid.errors import CheckpointError, few
from reid.models.checkpoint import Checkpoint, family_of
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
    checkpoint = Checkpoint.read(spec)
    family = FAMILIES[family_of(checkpoint.state) or "resnet"]()  # which says what is wrong with any other
    taken, *others = family.variants(checkpoint.state, checkpoint.content)
    if others:
        logger.warning("%s does not say which network it is; taken: %s; or: %s", spec, taken, few(others))
    module, _ = family.build(checkpoint.state, spec, taken)
    input = family.input(checkpoint.state, checkpoint.content, taken)
    trained = checkpoint.trained_size
    usual = trained or input.size
    used = height, width = size[0] or usual[0], size[1] or usual[1]
    if trained not in (None, used):
        logger.warning("%s was trained on %d x %d images, not %d x %d; see --height and --width", spec, *usual, *used)
    if input.resize is None:
        input = dataclasses.replace(input, height=height, width=width)
    victim = Victim(module, input, name=Path(spec).name, sha256=sha256(spec), feature=family.feature)
    settings = checkpoint.content.get("settings")
    victim.met = str(settings.get("attackers_sha256", "")) if isinstance(settings, Mapping) else ""
    if arch not in (None, victim.arch):
        raise CheckpointError(f"{spec} is a {victim.arch}, not a {arch}; use -a {victim.arch}, or leave -a out")
    return victim
