"""Datasets: what is on disk as lists of samples. `create(name, root)` loads one, `names()` lists them.

A dataset is a Loader and a line in the table here; a user's own registers itself in DATASETS.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from reid.datasets.base import Count, Dataset, Release, Sample, labels
from reid.datasets.loader import Loader, normalise
from reid.errors import UsageError
from reid.runtime.registry import Registry

__all__ = ["DATASETS", "Count", "Dataset", "Loader", "Release", "Root", "Sample", "create", "labels", "names"]

Root = str | Path | Mapping[str, str | Path]  # a folder, or one for each name of a dataset and "" for all others

DATASETS: Registry[type[Loader]] = Registry(
    "dataset",
    {
        "market1501": ("reid.datasets.market_style:Market1501", "Market-1501: six cameras, 1,501 people"),
        "dukemtmc": ("reid.datasets.market_style:DukeMTMC", "DukeMTMC-reID: eight cameras; withdrawn by its authors"),
        "msmt17": ("reid.datasets.msmt17:MSMT17", "MSMT17: fifteen cameras, 4,101 people"),
        "personx": ("reid.datasets.personx:PersonX", "PersonX: virtual, 1,266 people from 36 sides"),
        "unrealperson": ("reid.datasets.unrealperson:UnrealPerson", "UnrealPerson: virtual, to train on only"),
        "randperson": ("reid.datasets.randperson:RandPerson", "RandPerson: virtual, to train on only"),
        "synth-a": ("reid.datasets.market_style:Synth", "people drawn by this project, in place of a real dataset"),
        "synth-b": ("reid.datasets.market_style:Synth", "the same in another place, with other cameras"),
        "synth-virtual": ("reid.datasets.market_style:Synth", "the same as a virtual dataset"),
        "synth-wide": ("reid.datasets.market_style:Synth", "the same in many places at once, to train on"),
        "folder": ("reid.datasets.folder:OwnFolder", "your own images"),
    },
)


def names() -> list[str]:
    """The names that `create` takes; spellings such as Market-1501 work too, and folder:PATH for your own images."""
    return list(DATASETS)


def create(name: str, root: Root = "data", split: int = 0, labelled: bool = True) -> Dataset:
    """The dataset `name` below the folder `root`, converted on first use; root is the folder itself for "folder".

    A folder that `root` gives for this dataset alone may hold the dataset's folder, or be it. `split` numbers the
    division of trainval into train and val. Unless `labelled`, images of your own need not say who is on them: then
    all of them are of pid -1, and there are no query and gallery. Raises UsageError for an unknown name or a negative
    split, and DatasetError when the data is missing, damaged, or in a layout that is not known.
    """
    loader = find_loader(name)
    roots = root if isinstance(root, Mapping) else {"": root}
    known = {each and find_loader(each).name: place for each, place in roots.items()}
    place = known.get(loader.name, known.get("", "data"))
    place = os.path.expanduser(place)
    unlabelled = None if labelled else loader.unlabelled(place, split)
    return unlabelled or loader.load(place, split, loader.name in known)


def find_loader(name: str) -> Loader:
    """The loader of a dataset by any of its spellings, or of folder:PATH. Raises UsageError that lists the names."""
    if name.lower().startswith("folder:"):
        return DATASETS["folder"](name)
    for known in DATASETS:
        loader = DATASETS[known](known)
        if normalise(name) in loader.spellings():
            return loader
    if os.path.isdir(name):
        raise UsageError(f"no dataset is called {name!r}; for your own images in that folder write folder:{name}")
    return DATASETS[name](name)  # raises
