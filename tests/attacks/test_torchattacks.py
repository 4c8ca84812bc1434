"""The attacks on an equal loss against torchattacks 3.5.1: tests/data/torchattacks.npz (see the README there)."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from reid.attacks import AttackBatch
from reid.attacks.base import Reference
from reid.attacks.image.fgsm import FGSM
from reid.attacks.image.levels import Levels
from reid.attacks.image.mifgsm import MIFGSM
from reid.attacks.image.pgd import PGD
from reid.attacks.search.square import Square
from reid.models import Victim
from reid.runtime.seeds import generator

EPS = 8 / 255


@pytest.fixture(scope="module")
def golden():
    with np.load("tests/data/torchattacks.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module")
def batch(golden):
    return AttackBatch(golden["images"].float() / 255, torch.arange(8))


def classifying(kind):
    """The attack with cross-entropy to each image's own class as its objective, and from the image itself."""

    class Classifying(kind):
        def objective(self, features, clean, batch):
            return cross_entropy(features, batch.pids, reduction="none")

        def start(self, images, lower, upper, random):
            return images

    return dataclass(frozen=True)(Classifying)


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [("fgsm", FGSM, {}), ("i_fgsm", Levels, {}), ("mi_fgsm", MIFGSM, {}), ("pgd", PGD, {"steps": 15})],
)
def test_steps_are_the_same(name, kind, settings, golden, batch):
    victim = Victim(lambda images: torch.tanh(images.flatten(1) @ golden["first"]) @ golden["second"])
    attack = classifying(kind)(eps=EPS, **settings)
    *_, (last, _) = attack.iterates(victim, batch, victim(batch.images), EPS, generator(0))
    torch.testing.assert_close(last, golden[name], rtol=0, atol=1e-6)


def test_square_climbs_as_far_as_square_of_torchattacks(golden, batch):
    """On a line: a match on the left and a stranger on the right, so that the margin grows with the feature."""
    line = golden["line"]
    victim = Victim(lambda images: images.flatten(1) @ line[:, None])
    reference = Reference(torch.tensor([[-99.0], [99.0]]), torch.tensor([1, 2]), torch.tensor([5, 5]))
    asking = AttackBatch(
        batch.images, torch.ones(8, dtype=torch.long), torch.zeros(8, dtype=torch.long), None, reference
    )
    gains = []
    for seed in range(5):
        images = Square(eps=EPS, calls=300, seed=seed).attack(victim, asking).images
        gains.append((images - batch.images).flatten(1) @ line)
    ours, theirs = torch.stack(gains).mean(), golden["square"].mean()
    assert 0.95 * theirs < ours
