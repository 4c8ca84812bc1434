"""Recipes: objective, optimiser and meta mode together, and what a run takes from them."""

import math
from dataclasses import replace

import pytest
import torch

from reid import UsageError, attacks
from reid.attacks import MISGD, Reference
from reid.attacks.universal import RECIPES
from reid.attacks.universal.objectives import pull_farthest
from reid.attacks.universal.recipes import META_MODES, PLAIN, Recipe


def test_every_recipe_is_listed_by_name():
    ours = ["nearest", "scattered", "hinge", "smooth_ap", "cosine", "collapse"]
    published = ["metaattack", "uap_retrieval", "muap", "query_uap"]
    assert attacks.names()["universal"] == list(RECIPES) == [*META_MODES, *ours, *published]
    assert [name for name in RECIPES if RECIPES[name].needs_virtual] == ["maml", "alternating", "metaattack"]


@pytest.mark.parametrize("name", META_MODES)
def test_ours_are_the_released_attack_in_each_meta_mode(name):
    recipe = RECIPES[name]
    reference = Reference(torch.rand(4, 3), torch.arange(4), torch.arange(4))
    assert recipe.meta == name
    assert recipe.needs_virtual == (name != "none")
    assert recipe.objective_on(reference) is pull_farthest
    noise = attacks.create(0, 8 / 255, 4 / 255)
    optimizer = recipe.optimizer(noise.step_groups(recipe.fraction))
    assert isinstance(optimizer, MISGD)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.8 / 255, 0.4 / 255])
    assert [group["momentum"] for group in optimizer.param_groups] == [1.0, 1.0]
    assert [recipe.scale_at(epoch) for epoch in (0, 1, 5)] == pytest.approx([1, math.exp(-0.01), math.exp(-0.05)])


def test_a_decay_of_zero_keeps_the_step():
    assert replace(PLAIN, decay=0.0).scale_at(100) == 1.0


def test_an_unknown_meta_mode_is_refused():
    with pytest.raises(UsageError, match="meta mode 'reptile' is not one of maml, alternating, none"):
        Recipe(meta="reptile")
