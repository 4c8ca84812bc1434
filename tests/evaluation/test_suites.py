"""Suites: which attacks they name, and what a user may change in them."""

import pytest

from reid import attacks
from reid.attacks import Threat
from reid.attacks.specs import create
from reid.errors import UsageError
from reid.evaluation.plan import learnable
from reid.evaluation.suites import SUITES, Each, Universal, customised


@pytest.mark.parametrize("name", [*SUITES])
def test_name_attacks_that_exist(name):
    suite = SUITES[name]
    assert {*suite.recipes} <= {*attacks.names()["universal"]}
    for spec in [*(entry.spec for entry in suite.each), *suite.transfer]:
        assert create(spec).eps == 8 / 255


def test_the_first_ones_are_small():
    assert SUITES["given"].universal == SUITES["given"].each == ()
    assert (SUITES["adaptive"].recipes, SUITES["adaptive"].each) == (["none"], (Each("pgd"),))


def test_recipes_and_attacks_of_the_user_go_in_place_of_its_own():
    suite = customised("adaptive", ["nearest"], ["cosine"], equal_total=True, transfer=True)
    assert suite.universal == (Universal("nearest"), Universal("nearest", alone="delta"))
    assert suite.each == (Each("cosine"),)
    assert suite.transfer == ("cosine",)
    assert customised("adaptive", image=["cosine"]).recipes == ["none"]


@pytest.mark.parametrize("change", [{"recipes": ["none"]}, {"image": ["pgd"]}, {"equal_total": True}])
def test_that_judge_are_fixed(change):
    with pytest.raises(UsageError, match=r"reid-smoke-v1 has fixed attacks; leave --recipe, .* out"):
        customised("reid-smoke-v1", **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [("equal_total", "give a --recipe"), ("warm", "give a --recipe"), ("transfer", "--image-attack")],
)
def test_nothing_is_added_to_nothing(change, words):
    with pytest.raises(UsageError, match=words):
        customised("given", **{change: True})


def test_one_component_alone_has_the_total_of_both_on_the_attacked_side():
    threats = [(0, Threat(8 / 255, 8 / 255)), (1, Threat(8 / 255, 0.0)), (0, Threat(8 / 255, 8 / 255))]
    of_side = [(0, Threat(8 / 255, 8 / 255, "both")), (1, Threat(8 / 255, 0.0, "both"))]
    assert learnable(Universal("none"), threats, "both") == of_side
    assert learnable(Universal("none", alone="delta"), threats, "both") == [(2, Threat(0.0, 16 / 255, "both"))]
    halved = Universal("none", scale=0.5, alone="color")
    assert learnable(halved, threats, "gallery") == [(1, Threat(8 / 255, 0.0, "gallery"))]
