import copy
import json
import sys
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


@pytest.fixture
def timm_network(tmp_path):
    """`timm_network(name, classes)`: one whose weights are in x.pth, how timm prepares its images, and their size."""
    timm = pytest.importorskip("timm")

    def build(name, classes):
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=classes).eval()
        torch.save(network.state_dict(), tmp_path / "x.pth")
        settings = timm.data.resolve_model_data_config(network)
        mean, std = (torch.tensor(settings[each]).view(3, 1, 1) for each in ("mean", "std"))
        return network, lambda images: (images - mean) / std, settings["input_size"][1:]

    return build


FUNCTIONS = """
import torch
from torch import nn
from reid.models import InputSpec

INPUT = InputSpec(32, 16, channels="bgr", scale=255.0)


class Linear(nn.Module):
    input = INPUT

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(48, 64, generator=generator))

    def forward(self, images):
        return {"logits": images.mean((1, 2, 3))[:, None].expand(-1, 5), "features": self.pooled(images) @ self.weight}

    def pooled(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


def linear():
    return Linear()


def unknown():
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())


def arrays():
    def run(images):
        return torch.from_numpy(images.detach().numpy().mean((2, 3)))

    run.input = INPUT
    return run


class Counts(Linear):
    def forward(self, images):  # a loop, of which as many turns are traced as there were images
        return torch.cat([self.pooled(image[None]) for image in images])


def counts():
    return Counts()


def fails():
    raise KeyError("weights")


def number():
    return 3
"""


@pytest.fixture
def user_functions(tmp_path, monkeypatch):
    """The module `functions` of a user, in the current folder."""
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "functions.py").write_text(FUNCTIONS)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("functions", None)
