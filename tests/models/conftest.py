import copy
import json
from pathlib import Path

import pytest
import torch

from reid import models

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def data():
    return DATA


@pytest.fixture(scope="session")
def layouts():
    """Every key, shape and dtype of the released models, in their order."""
    return json.loads((DATA / "state_dict_layouts.json").read_text())


@pytest.fixture(scope="session")
def skeleton():
    """`skeleton(name, num_classes)`: a model of keys and shapes without memory, for what needs no values."""

    def build(name, num_classes):
        with torch.device("meta"):
            return models.create(name, num_classes)

    return build


@pytest.fixture(scope="session")
def small_once():
    return models.create("resnet10", 7, seed=1)


@pytest.fixture
def small(small_once):
    """A resnet10 with 7 classes, to do with as a test likes."""
    return copy.deepcopy(small_once)


@pytest.fixture
def images():
    return torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(5))
