"""Datasets: what is on disk as lists of samples. `create(name, root)` loads one, `names()` lists them."""

from pathlib import Path

from reid.datasets.base import Count, Dataset, Release, Sample, labels
from reid.datasets.dukemtmc import DukeMTMC
from reid.datasets.folder import OwnFolder
from reid.datasets.loader import Loader, normalise
from reid.datasets.market1501 import Market1501
from reid.datasets.msmt17 import MSMT17
from reid.datasets.personx import PersonX
from reid.datasets.randperson import RandPerson
from reid.datasets.synth import Synth
from reid.datasets.unrealperson import UnrealPerson
from reid.errors import UsageError

_LOADERS: tuple[Loader, ...] = (
    Market1501(),
    DukeMTMC(),
    MSMT17(),
    PersonX(),
    UnrealPerson(),
    RandPerson(),
    Synth("synth-a"),
    Synth("synth-b"),
    Synth("synth-virtual"),
    OwnFolder(),
)

__all__ = ["Count", "Dataset", "Release", "Sample", "create", "labels", "names"]


def names() -> list[str]:
    """The names that `create` takes; spellings such as Market-1501 or DukeMTMC-reID work too."""
    return [loader.name for loader in _LOADERS]


def create(name: str, root: str | Path = "data", split: int = 0) -> Dataset:
    """The dataset `name` below the folder `root`, converted on first use; root is the folder itself for "folder".

    `split` numbers the division of trainval into train and val. Raises UsageError for an unknown name and
    DatasetError when the data is missing, damaged, or in a layout that is not known.
    """
    return find_loader(name).load(root, split)


def find_loader(name: str) -> Loader:
    """The loader of a dataset by any of its spellings. Raises UsageError that lists the names."""
    for loader in _LOADERS:
        if normalise(name) in loader.spellings():
            return loader
    raise UsageError(f"no dataset is called {name!r}; choose one of {', '.join(names())}")
