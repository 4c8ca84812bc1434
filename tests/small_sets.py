"""A small network and small sets of people on disk: fixtures for the tests of training and of defences."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reid import models
from reid.datasets import Sample
from reid.loading import Images
from reid.training import TrainingSet
from reid.training.batches import Drawn, TrainingBatch

HEIGHT, WIDTH = 32, 16


@pytest.fixture(scope="session")
def small_once():
    return models.create("resnet10", 5, seed=1)


@pytest.fixture
def small(small_once):
    """A resnet10 with 5 classes, in training mode, to do with as a test likes."""
    return copy.deepcopy(small_once)


@pytest.fixture(scope="session")
def tiny_once(small_once):
    tiny = copy.deepcopy(small_once)
    tiny.base.layer2, tiny.base.layer3, tiny.base.layer4 = (nn.Sequential() for _ in range(3))
    tiny.base.fc = nn.Linear(64, 1).requires_grad_(False)
    tiny.feat = nn.Linear(64, 2048, bias=False)
    nn.init.normal_(tiny.feat.weight, std=0.03, generator=torch.Generator().manual_seed(1))
    return tiny


@pytest.fixture
def tiny(tiny_once):
    """The same, cut after its first stage: for what needs no whole resnet10, in a twentieth of the time and memory."""
    return copy.deepcopy(tiny_once)


@pytest.fixture
def clean():
    """2 identities x 4 images, as a camera gives them: whole grey levels, black and white included."""
    return torch.randint(0, 256, (8, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(5)) / 255


@pytest.fixture
def labels():
    return torch.tensor([3, 3, 3, 3, 1, 1, 1, 1])


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Samples of two sets: "real" has pids 10, 20, .. of 5 people, "virtual" 1, 2, .. of 6; 3 images of each."""
    sets = {}
    for seed, (name, pids) in enumerate({"real": range(10, 60, 10), "virtual": range(1, 7)}.items()):
        random, folder = np.random.default_rng(seed), tmp_path_factory.mktemp(name)
        sets[name] = []
        for pid in pids:
            colour = random.integers(60, 196, (2, 1, 1, 3)).repeat(HEIGHT // 2, axis=1).reshape(HEIGHT, 1, 3)
            for index in range(3):
                pixels = np.clip(colour + random.normal(0, 25, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
                path = folder / f"{pid:04d}_{index}.png"
                Image.fromarray(pixels).save(path)
                sets[name].append(Sample(str(path), pid, index))
    return sets


@pytest.fixture
def training_set(people):
    """`training_set(name)`: batches of 4 identities x 2 images of one of the sets."""

    def build(name, seed=0, jitter=0.0):
        images = Images(HEIGHT, WIDTH, workers=1)
        return TrainingSet(name, people[name], images, batch_size=8, num_instances=2, seed=seed, jitter=jitter)

    return build


def drawn(images, labels):
    """Images as a set draws them, without colour jitter."""
    return Drawn(range(len(images)), images, labels, images)


def half_perturbed(deviation):
    """A batch of 4 people x 2 images, every second one once more under noise of this standard deviation."""
    random = torch.Generator().manual_seed(0)
    clean, labels = torch.rand(8, 3, HEIGHT, WIDTH, generator=random), torch.arange(8) // 2
    perturbed = (clean[::2] + deviation * torch.randn(4, 3, HEIGHT, WIDTH, generator=random)).clamp(0, 1)
    return TrainingBatch(clean, perturbed, torch.cat([labels, labels[::2]]), clean)
