"""The model that a defence starts from."""

from pathlib import Path

from reid import models
from reid.errors import UsageError
from reid.models.checkpoint import START_OF_RES_META
from reid.models.layout import layout_of
from reid.models.network import ReidModel


def starting_model(path: str | Path, num_classes: int | None, arch: str | None = None, seed: int = 0) -> ReidModel:
    """The model in a file, for `num_classes` identities; where it had others, its head starts from `seed`.

    Without `num_classes` the head stays as it is. `arch` is to be that of the file, or resMeta for a resnet50.
    Raises UsageError for another, CheckpointError for a file that is no such model.
    """
    layout = layout_of(models.read_checkpoint(path), path)
    arch = arch or layout.arch
    if arch != layout.arch and (layout.arch, arch) != START_OF_RES_META:
        raise UsageError(f"{path} is a {layout.arch}, not a {arch}; use -a {layout.arch}, or leave -a out")
    model = models.create(arch, num_classes or layout.num_classes or 1, seed=seed)
    models.load_checkpoint(model, path)
    return model
