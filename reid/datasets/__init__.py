"""Datasets: what is on disk as lists of samples. `create(name, root)` loads one, `names()` lists them.

A dataset is a Loader and a line in the table here; a user's own registers itself in DATASETS.
"""

from pathlib import Path

from reid.datasets.base import Count, Dataset, Release, Sample, labels
from reid.datasets.loader import Loader, normalise
from reid.runtime.registry import Registry

__all__ = ["DATASETS", "Count", "Dataset", "Loader", "Release", "Sample", "create", "labels", "names"]

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
        "folder": ("reid.datasets.folder:OwnFolder", "your own images"),
    },
)


def names() -> list[str]:
    """The names that `create` takes; spellings such as Market-1501 or DukeMTMC-reID work too."""
    return list(DATASETS)


def create(name: str, root: str | Path = "data", split: int = 0) -> Dataset:
    """The dataset `name` below the folder `root`, converted on first use; root is the folder itself for "folder".

    `split` numbers the division of trainval into train and val. Raises UsageError for an unknown name or a negative
    split, and DatasetError when the data is missing, damaged, or in a layout that is not known.
    """
    return find_loader(name).load(root, split)


def find_loader(name: str) -> Loader:
    """The loader of a dataset by any of its spellings. Raises UsageError that lists the names."""
    for known in DATASETS:
        loader = DATASETS[known](known)
        if normalise(name) in loader.spellings():
            return loader
    return DATASETS[name](name)  # raises
