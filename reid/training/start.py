"""What a defence starts from: a model, and the contents of files."""

from collections.abc import Sequence
from pathlib import Path

from reid import models
from reid.datasets import Dataset
from reid.datasets.contents import contents_sha256
from reid.errors import UsageError
from reid.models.checkpoint import START_OF_RES_META, Checkpoint, family_of
from reid.models.network import ReidModel
from reid.models.returned import KINDS, REMEDY
from reid.models.sources import Source, file_of, kind_of, open_model
from reid.runtime import distributed
from reid.runtime.cli import WEIGHTS
from reid.runtime.files import sha256


def open_start(spec: str, weights: str | Path = WEIGHTS) -> Source:
    """The model that a spec names; the files of zoo:NAME are in the folder `weights`.

    Raises UsageError for a kind of model that cannot be trained and written back.
    """
    kind, _ = kind_of(file_of(spec, weights))
    if kind not in KINDS:
        raise UsageError(f"{spec} ({kind}) cannot be defended, only {', '.join(KINDS)} models can; {REMEDY}")
    return open_model(spec, weights)


def is_ours(source: Source) -> bool:
    """Whether a model is a checkpoint of this project's networks, or one that belongs to no family at all."""
    return source.checkpoint is not None and family_of(source.checkpoint.state) in (None, "resnet")


def starting_model(
    checkpoint: Checkpoint, num_classes: int | None, arch: str | None = None, seed: int = 0
) -> ReidModel:
    """The model in a checkpoint, for `num_classes` identities; where it had others, its head starts from `seed`.

    Without `num_classes` the head stays as it is. `arch` is to be that of the file, or resMeta for a resnet50.
    Raises UsageError for another, CheckpointError for a file that is no such model.
    """
    path, layout = checkpoint.path, checkpoint.layout
    arch = arch or layout.arch
    if arch != layout.arch and (layout.arch, arch) != START_OF_RES_META:
        raise UsageError(f"{path} is a {layout.arch}, not a {arch}; use -a {layout.arch}, or leave -a out")
    model = models.create(arch, num_classes or layout.num_classes or 1, seed=seed)
    checkpoint.into(model)
    return model


def contents(data: Sequence[Dataset], start_sha256: str = "", attackers: Sequence[str] = ()) -> dict[str, str]:
    """Hashes of what a run is made from, for its settings: all images to train and validate on of its sets (the source,
    then the virtual one), the model to start from, perturbation files. When one has changed the run cannot go on."""

    def hashes() -> dict[str, str]:
        named = zip(("source", "virtual"), data, strict=False)
        digests = {f"{name}_sha256": contents_sha256(dataset.trainval) for name, dataset in named}
        if start_sha256:
            digests |= {"start_sha256": start_sha256, "attackers_sha256": ", ".join(map(sha256, attackers))}
        return digests

    return distributed.from_main(hashes)
