"""QueryUAP: what is planted is found by answers alone, within a number of calls, the same each time."""

from dataclasses import replace

import pytest
import torch
from planted import EPS, WEAKNESSES, circle, people, turning, weights

from reid import attacks
from reid.attacks.universal.answers import squares
from reid.attacks.universal.query_uap import QUERY_UAP
from reid.attacks.universal.step import KnownImages, meta_step
from reid.models import InputSpec, Victim
from reid.runtime.seeds import generator

STEPS = 60
IMAGES = people().repeat(4, 1, 1, 1)
PIDS = torch.zeros(16, dtype=torch.long)
TWO = circle([0.0, 2.0], [0, 1])  # the people of the images, and a stranger at an angle that the budget does not reach


def learnt(victim, recipe=QUERY_UAP, steps=STEPS):
    """Delta against images whose features are near the angle 0, learnt in an epoch."""
    noise = attacks.create(2, eps_delta=EPS, height=8, width=4)
    optimizer = recipe.optimizer(noise.step_groups(recipe.fraction))
    with torch.no_grad():
        known = KnownImages(IMAGES, PIDS, victim(IMAGES))
    victim.reset_passes()
    seen = recipe.seen(victim, 0)
    for _ in range(steps):
        meta_step(noise, seen, known, None, optimizer, "none", objective=recipe.objective_on(TWO))
    return noise.delta.detach()


def blind(weight):
    """The same victim without gradients."""
    whole = turning(weight)
    return Victim(lambda images: whole(images.detach()).detach(), InputSpec(8, 4, resize=None))


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_the_known_optimum_is_reached_without_gradients(weakness):
    weight = weights(weakness)
    victim = blind(weight)
    delta = learnt(victim)
    assert not victim.differentiable
    assert delta.abs().max() <= EPS + 1e-6
    assert (weight * delta).sum() >= 0.95  # the whole budget turns the feature by 1


def test_each_step_asks_for_each_image_and_both_ways_along_each_direction():
    victim = blind(weights("linear"))
    learnt(victim, replace(QUERY_UAP, directions=3), steps=2)
    assert (victim.passes.forward, victim.passes.backward) == (2 * 16 * (1 + 2 * 3), 0)


def test_the_same_draws_give_the_same_and_another_epoch_others():
    victim = turning(weights("linear"))
    assert torch.equal(learnt(victim, steps=3), learnt(victim, steps=3))
    images = people().requires_grad_()
    slopes = [torch.autograd.grad(QUERY_UAP.seen(victim, epoch)(images).sum(), images)[0] for epoch in (0, 0, 1)]
    assert torch.equal(slopes[0], slopes[1])
    assert not torch.equal(slopes[0], slopes[2])


def test_what_is_estimated_is_the_gradient():
    victim = turning(weights("linear"))
    images = people().requires_grad_()
    many = replace(QUERY_UAP, directions=3000, reach=0.5 / 255)
    exact, estimated = (
        torch.autograd.grad(seen(images)[:, 1].sum(), images)[0] for seen in (victim, many.seen(victim, 0))
    )
    scaled = estimated / (2 * 3000 * many.reach**2)
    assert torch.nn.functional.cosine_similarity(exact.flatten(1), scaled.flatten(1)).min() > 0.97
    assert (scaled.norm() / exact.norm()).item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("height", "width", "side"), [(80, 40, 5), (256, 128, 16), (8, 4, 1)])
def test_squares_are_alike_within_and_begin_anywhere(height, width, side):
    drawn = squares((2, 3, height, width), 8, generator(0))
    assert drawn.shape == (2, 3, height, width)
    assert drawn.abs().eq(1).all()
    changes = drawn.diff(dim=3).ne(0).any(dim=(0, 1, 2)).nonzero().flatten()
    assert {*(changes % side).tolist()} == {int(changes[0]) % side}
    starts = {
        squares((1, 1, height, width), 8, generator(seed)).diff(dim=2).ne(0).any(dim=3).nonzero()[0, 2].item()
        for seed in range(40)
    }
    assert len(starts) >= min(side, 4)
