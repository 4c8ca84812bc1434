"""The attack on each image by itself: inside the ball, repeatable, and the best that was seen on the way."""

from dataclasses import dataclass, fields

import pytest
import torch

from reid import UsageError, attacks, models
from reid.attacks import AttackBatch, Threat
from reid.attacks.image import IMAGE
from reid.attacks.image.linf import LInf
from reid.attacks.image.pgd import PGD
from reid.attacks.specs import create
from reid.models import InputSpec, Victim
from reid.runtime import seeds

EPS = 8 / 255
SIZE = InputSpec(16, 8, resize=None)


@pytest.fixture(scope="module")
def weight():
    return torch.randn(6, 3 * 16 * 8, generator=seeds.generator(1))


@pytest.fixture
def victim(weight):
    """One layer, so that the best point of the ball is far from a random one, and known to lie at its corners."""
    return Victim(lambda x: torch.tanh(0.01 * x.flatten(1) @ weight.T), SIZE)


def distance(victim, perturbed, images):
    with torch.no_grad():
        return (victim(perturbed) - victim(images)).norm(dim=1)


def attacked(attack, victim, images):
    return attack.attack(victim, AttackBatch(images)).images


def last_iterate(attack, victim, images, eps, seed=0):
    with torch.no_grad():
        clean = victim(images)
    *_, (last, _) = attack.iterates(victim, AttackBatch(images), clean, eps, seeds.generator(seed))
    return last


def literal(victim, images, eps, steps, random):
    """The steps of PGD one image at a time, from the same random start."""
    share = torch.rand(images.shape[1:], generator=random)
    results = []
    for image, budget in zip(images, eps, strict=True):
        lower = torch.maximum(image - budget, torch.zeros(()))
        upper = torch.minimum(image + budget, torch.ones(()))
        x = (lower + share * (upper - lower))[None]
        for _ in range(steps):
            x = x.detach().requires_grad_()
            ((victim(x) - victim(image[None]).detach()) ** 2).sum().backward()
            x = x.detach() + 2.5 * budget / steps * x.grad.sign()
            x = torch.where(x > upper, upper, torch.where(x < lower, lower, x))
        results.append(x)
    return torch.cat(results)


class TestSteps:
    def test_equal_the_literal_attack(self, victim, images):
        eps = torch.tensor([2.0, 8.0, 4.0, 0.0]).view(4, 1, 1, 1) / 255
        last = last_iterate(PGD(steps=3), victim, images, eps)
        expected = literal(victim, images, eps, 3, seeds.generator(0))
        differ = (last - expected).abs() > 1e-6  # a gradient of zero up to rounding may have either sign
        assert differ.float().mean() < 0.005

    def test_each_image_may_have_its_own_budget(self, victim, images):
        eps = torch.tensor([0.0, 1.0, 4.0, 16.0]).view(4, 1, 1, 1) / 255
        last = last_iterate(PGD(steps=5), victim, images, eps)
        spent = (last - images).abs().amax((1, 2, 3))
        assert torch.equal(last[0], images[0])
        assert spent.tolist() == pytest.approx([0.0, 1 / 255, 4 / 255, 16 / 255], abs=1e-6)

    def test_stay_in_the_ball_and_in_the_range_of_images_and_reach_the_border(self, victim, images):
        perturbed = attacked(PGD(steps=5), victim, images)
        assert perturbed.min() >= 0
        assert perturbed.max() <= 1
        assert (perturbed - images).abs().max().item() == pytest.approx(EPS, abs=1e-6)

    def test_go_farther_than_the_random_start(self, victim, images):
        (start, _), *_ = PGD(steps=1).iterates(victim, AttackBatch(images), victim(images), EPS, seeds.generator(0))
        assert 0 < (start - images).abs().max() <= EPS + 1e-6
        perturbed = attacked(PGD(steps=5), victim, images)
        assert (distance(victim, perturbed, images) > 2 * distance(victim, start, images)).all()

    def test_more_of_them_are_not_worse(self, victim, images):
        few, many = (distance(victim, attacked(PGD(steps=n), victim, images), images).mean() for n in (1, 15))
        assert many > few

    def test_leave_images_and_global_randomness_alone_and_carry_no_graph(self, victim, images):
        before, state = images.clone(), torch.get_rng_state()
        perturbed = attacked(PGD(steps=2), victim, images)
        assert torch.equal(images, before)
        assert not images.requires_grad
        assert not perturbed.requires_grad
        assert torch.equal(torch.get_rng_state(), state)

    def test_work_where_gradients_are_switched_off(self, victim, images):
        with torch.no_grad():
            off = attacked(PGD(steps=3), victim, images)
        assert torch.equal(off, attacked(PGD(steps=3), victim, images))

    def test_leave_the_gradients_of_a_network_alone(self, images):
        victim = Victim(models.create("resnet10", 3, seed=0))
        perturbed = attacked(PGD(steps=4), victim, images)
        assert all(p.grad is None for p in victim.parameters())
        (start, _), *_ = PGD(steps=1).iterates(victim, AttackBatch(images), victim(images), EPS, seeds.generator(0))
        assert (distance(victim, perturbed, images) > 2 * distance(victim, start, images)).all()


@pytest.fixture
def slope(images):
    """A victim whose feature is linear in the image: its optimum is the corner of the ball along the weights' signs,
    or the opposite one."""
    weight = torch.randn(1, images[0].numel(), generator=seeds.generator(3))
    return Victim(lambda x: x.flatten(1) @ weight.T, SIZE), weight.view(1, *images.shape[1:])


class TestOptimum:
    def test_is_reached_where_it_is_known(self, slope, images):
        victim, weight = slope
        lower, upper = (images - EPS).clamp(min=0), (images + EPS).clamp(max=1)
        corners = (torch.where(weight > 0, *pair) for pair in ((upper, lower), (lower, upper)))
        best = torch.stack([distance(victim, corner, images) for corner in corners])
        reached = distance(victim, attacked(PGD(steps=20, restarts=8), victim, images), images)
        torch.testing.assert_close(reached, best.amax(0), rtol=1e-5, atol=1e-5)

    def test_one_start_may_go_to_the_worse_corner(self, slope, images):
        """Or restarts would have nothing to do in the test above."""
        victim, _ = slope
        reached = [distance(victim, attacked(PGD(steps=20, seed=seed), victim, images), images) for seed in range(8)]
        assert (torch.stack(reached).amax(0) > reached[0] + 1e-4).any()


@dataclass(frozen=True)
class Overshooting(PGD):
    """Steps so long that the last iterate is seldom the best."""

    def step(self, images, gradient, eps, number):
        return images + 10 * eps * gradient.sign() * (-1) ** number


@dataclass(frozen=True)
class Listed(LInf):
    """The objective of step i is listed for each image; each step adds a quarter of the budget, two grey levels."""

    values: tuple = ()

    def start(self, images, lower, upper, random):
        return images

    def objective(self, features, clean, batch):
        number = ((features - clean).mean(1) / (self.eps / 4)).round().long()
        return torch.tensor(self.values)[:, number[0]] + 0 * features.sum(1)

    def step(self, images, gradient, eps, number):
        return images + eps / 4


class TestBestIterate:
    def test_is_never_below_any_iterate_of_any_start(self, victim, images):
        attack = Overshooting(steps=6, restarts=3)
        best = distance(victim, attacked(attack, victim, images), images)
        seen = []
        for restart in range(3):
            with torch.no_grad():
                clean = victim(images)
            for x, _ in attack.iterates(victim, AttackBatch(images), clean, EPS, seeds.generator(0, restart)):
                seen.append(distance(victim, x, images))
        torch.testing.assert_close(best, torch.stack(seen).amax(0), rtol=0.01, atol=0.0)  # it is rounded to 8 bits
        assert (best > seen[-1] + 1e-4).any()  # the last one is not the best

    def test_is_chosen_for_each_image_by_itself(self):
        images = torch.full((3, 3, 4, 2), 0.5)
        values = ((0.0, 3.0, 1.0, 2.0), (4.0, 3.0, 2.0, 1.0), (float("nan"), 0.0, 1.0, 5.0))
        attack = Listed(steps=3, values=values)
        perturbed = attacked(attack, Victim(lambda x: x.flatten(1)), images)
        steps = ((perturbed - images).amax((1, 2, 3)) / (EPS / 4)).round().tolist()
        assert steps == [1, 0, 3]

    def test_restarts_only_help(self, victim, images):
        values = [distance(victim, attacked(PGD(steps=2, restarts=n), victim, images), images) for n in (1, 2, 5)]
        assert (values[1] >= values[0]).all()
        assert (values[2] >= values[1]).all()
        assert (values[2] > values[0]).any()

    def test_of_an_image_does_not_depend_on_its_batch(self, victim, images):
        attack = PGD(steps=3, restarts=2)
        together = attacked(attack, victim, images)
        alone = torch.cat([attacked(attack, victim, image[None]) for image in images])
        differ = (together - alone).abs() > 1e-6  # a gradient of zero up to rounding may have either sign
        assert differ.float().mean() < 0.005


class TestPGD:
    def test_has_the_threat_of_an_image_added(self):
        assert PGD(eps=EPS).threat == Threat(0.0, EPS)
        assert (PGD().kind, PGD().noise_type) == ("image", None)

    def test_the_same_seed_gives_the_same_images(self, victim, images):
        one, again, other = (attacked(PGD(steps=2, seed=seed), victim, images) for seed in (0, 0, 1))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)

    def test_without_a_budget_changes_nothing(self, victim, images):
        assert torch.equal(attacked(PGD(eps=0.0, steps=2), victim, images), images)

    def test_costs_a_pass_both_ways_per_step_and_two_forward(self, victim, images):
        result = attacks.perform(PGD(steps=3, restarts=2), victim, AttackBatch(images))
        assert (result.passes.forward, result.passes.backward) == (4 * (1 + 2 * (3 + 1)), 4 * 2 * 3)


@dataclass(frozen=True)
class Switch(PGD):
    on: bool = False


class TestSettings:
    def test_come_from_the_spec_before_all_others(self):
        attack = create("pgd:steps=50,restarts=3", eps=4 / 255, steps=15)
        assert attack == PGD(eps=4 / 255, steps=50, restarts=3)
        assert create("pgd") == PGD()
        assert create("pgd:eps=0.1").eps == 0.1
        assert create("pgd:eps=4/255").eps == 4 / 255

    def test_may_be_switches(self, monkeypatch):
        monkeypatch.setitem(IMAGE._places, "switch", Switch)
        assert [create(f"switch:on={word}").on for word in ("true", "False")] == [True, False]
        with pytest.raises(UsageError, match="on is true or false, not 'maybe'"):
            create("switch:on=maybe")

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ("square:calls=0", "a search of 0 calls with area"),
            ("square:area=2", "with area 2.0"),
            ("squares", "no image attack is called 'squares'; did you mean square?"),
            ("pdg", "no image attack is called 'pdg'; did you mean pgd?"),
            ("pgd:step=5", "pgd has no setting 'step', but eps, steps, restarts, seed"),
            ("pgd:50", "pgd has no setting '50'"),
            ("pgd:steps", "steps is a number such as 15, not ''"),
            ("pgd:steps=2.5", "steps is a number such as 15, not '2.5'"),
            ("pgd:eps=4/0", "eps is a number such as 0.03"),
            ("pgd:steps=many", "steps is a number such as 15, not 'many'"),
            ("pgd:steps=0", "0 steps and 1 restarts"),
            ("pgd:restarts=-1", "15 steps and -1 restarts"),
            ("pgd:seed=-1", "with seed -1"),
            ("pgd:eps=8", "eps_delta 8.0 is not a number in [0, 1]"),
            ("pgd:eps=nan", "eps_delta nan is not a number in [0, 1]"),
        ],
    )
    def test_that_cannot_be_are_refused_in_one_line(self, spec, words):
        with pytest.raises(UsageError) as caught:
            create(spec)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_every_image_attack_can_be_named_and_has_plain_settings():
    assert attacks.names()["image"] == list(IMAGE)
    for name in IMAGE:
        attack = create(name)
        assert isinstance(attack, LInf)
        assert all(isinstance(getattr(attack, field.name), int | float) for field in fields(attack))
