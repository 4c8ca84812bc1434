"""A victim from anything that names a model."""

from pathlib import Path

from reid.models.readings import OWN
from reid.models.sources import Size, open_model
from reid.models.victim import Victim
from reid.models.zoo.entries import PREFIX
from reid.runtime.cli import WEIGHTS


def load_victim(
    spec: str | Path,
    *,
    arch: str | None = None,
    size: Size = (None, None),
    preprocessing: str = OWN,
    weights: str | Path = WEIGHTS,
) -> Victim:
    """The model of `spec` as a Victim (see `open_model` for what a spec may be, and for `weights`).

    `size` is the (height, width) of the images that it will get; None is what it wants, as far as known. Warns when
    it was trained on others. `preprocessing` says how it reads images (see `Source.victim`). Raises CheckpointError for
    a file that is none of a known model, or of another architecture than `arch`, and UsageError where it is not known
    how the model reads images.
    """
    return open_model(spec, weights).victim(preprocessing, size, arch)


def load_zoo(name: str, weights: str | Path = WEIGHTS) -> Victim:
    """The model of the zoo with this name, whose file is in the folder `weights`.

    Raises UsageError for an unknown name, and CheckpointError for a file that is missing or another one.
    """
    return load_victim(f"{PREFIX}{name}", weights=weights)
