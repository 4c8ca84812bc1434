"""Seeds of any size: the usual ones give what they always gave, the others something of their own."""

import argparse

import pytest
import torch

from reid import models
from reid.attacks.controls import random_sign
from reid.attacks.threat import Threat
from reid.errors import UsageError
from reid.runtime import cli, seeds
from reid.training.network import TrainedNetwork

LARGE = (2**63, 2**64 - 1, 2**64, 17982163893102248868, 10**30, 2**128 - 1)


def drawn(generator):
    return tuple(torch.rand(4, generator=generator).tolist())


def test_each_draws_something_else_and_the_same_each_time():
    keys = [(0,), (1,), (0, 1), *((seed,) for seed in LARGE), *((seed, 1) for seed in LARGE)]
    values = [drawn(seeds.generator(*key)) for key in keys]
    assert len(set(values)) == len(keys)
    assert values == [drawn(seeds.generator(*key)) for key in keys]


@pytest.mark.parametrize("seed", LARGE)
def test_of_any_size_do_everywhere(seed):
    seeds.seed_everything(seed, 3)
    model = models.create("resnet10", 2, seed=seed)
    TrainedNetwork(model, 2, seed)
    assert not torch.equal(
        random_sign(Threat(0, 0.1), seed, 8, 4).delta, random_sign(Threat(0, 0.1), seed - 1, 8, 4).delta
    )
    assert cli.seed(str(seed)) == seed


def test_those_that_torch_takes_are_its_own():
    assert [seeds.for_torch(seed) for seed in (0, 7, 2**64 - 1)] == [0, 7, 2**64 - 1]
    assert len({seeds.for_torch(seed) for seed in (2**64, 2**64 + 7, 10**30)}) == 3


@pytest.mark.parametrize("use", [seeds.seed_everything, seeds.generator, seeds.for_torch])
def test_negative_ones_are_refused(use):
    with pytest.raises(UsageError, match="seed -3 is negative"):
        use(-3)


@pytest.mark.parametrize("text", ["-1", "1.5", "1e3", "", "x", str(2**128), "9" * 5000])
def test_what_is_none_is_one_short_line(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a whole number from 0 to 2\*\*128 - 1") as caught:
        cli.seed(text)
    assert len(str(caught.value)) < 200
