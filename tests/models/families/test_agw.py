"""AGW: non-local blocks, generalised-mean pooling, and each without the other."""

import pytest
import torch
from drawn import read_golden
from golden import assert_golden, family_of

from reid import CheckpointError, UsageError
from reid.models.families.agw import Agw

FAMILY = Agw()


def state_of(name, **changes):
    state = {key: torch.zeros(shape) for key, shape in read_golden(f"agw-{name}")["keys"].items()} | changes
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize("name", ["nl-gem", "nl-avg", "gem"])
def test_features_are_those_of_the_authors(name):
    model, report = assert_golden(f"agw-{name}")
    assert model.arch == "resnet50"
    assert report.unexpected == ["classifier.weight"]


def test_a_file_without_its_exponent_is_still_agw_and_leaves_the_pooling_open():
    state = state_of("nl-gem", **{"global_pool.p": None})
    assert family_of(state)[0] == "agw"
    assert FAMILY.variants(state, {}) == ("avg", "gem3")
    assert FAMILY.variants(state_of("nl-gem"), {}) == ("gem",)
    with pytest.raises(UsageError, match="no variant is called 'median'"):
        FAMILY.build(state, "x.pth", "median")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base.NL_2.1.W.1.running_mean": None}, r"is not whole: 1 .*base\.NL_2\.1\.W\.1\.running_mean"),
        ({"base.NL_3.2.g.weight": torch.zeros(512, 1024, 1, 1)}, r"is not whole: .*base\.NL_"),
        ({"base.NL_4.0.g.weight": torch.zeros(1, 2048, 1, 1)}, r"tensors that it does not have .*NL_4"),
        ({"global_pool.p": torch.ones(2)}, r"is not whole: 1 .*global_pool\.p"),
    ],
)
def test_what_is_lost_or_of_another_network_is_refused(changes, words):
    with pytest.raises(CheckpointError, match=words):
        FAMILY.build(state_of("nl-gem", **changes), "x.pth")


def test_one_non_local_block_that_is_lost_is_missed():
    state = {key: value for key, value in state_of("nl-gem").items() if not key.startswith("base.NL_3.1.")}
    with pytest.raises(CheckpointError, match=r"is not whole: 12 tensors .*NL_3\.1\."):
        FAMILY.build(state, "x.pth")
