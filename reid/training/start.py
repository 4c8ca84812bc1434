"""What a defence starts from: a model, and the contents of files."""

from collections.abc import Sequence
from pathlib import Path

from reid import models
from reid.datasets import Dataset
from reid.datasets.contents import contents_sha256
from reid.errors import UsageError
from reid.models.checkpoint import START_OF_RES_META, Checkpoint
from reid.models.network import ReidModel
from reid.models.sources import kind_of
from reid.runtime import distributed
from reid.runtime.files import sha256


def starting_checkpoint(spec: str) -> Checkpoint:
    """The checkpoint that a spec names. Raises UsageError for any other model: a defence trains our networks alone."""
    kind, _ = kind_of(spec)
    if kind != "checkpoint":
        remedy = "give a checkpoint of trainReid.py; evaluate.py and metaAttack.py take any model"
        raise UsageError(f"{spec} ({kind}) cannot be defended, only the ResNets of this project can; {remedy}")
    return Checkpoint.read(spec)


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


def contents(data: Sequence[Dataset], start: str | Path = "", attackers: Sequence[str] = ()) -> dict[str, str]:
    """Hashes of what a run is made from, for its settings: all images to train and validate on of its sets (the source,
    then the virtual one), the model to start from, perturbation files. When one has changed the run cannot go on."""

    def hashes() -> dict[str, str]:
        named = zip(("source", "virtual"), data, strict=False)
        digests = {f"{name}_sha256": contents_sha256(dataset.trainval) for name, dataset in named}
        if start:
            digests |= {"start_sha256": sha256(start), "attackers_sha256": ", ".join(map(sha256, attackers))}
        return digests

    return distributed.from_main(hashes)
