"""The attack on each image by itself: inside the ball, repeatable, and farther than its random start."""

import pytest
import torch

from reid import models
from reid.attacks import Threat
from reid.attacks.image_pgd import FeaturePGD, push_away
from reid.runtime import seeds

EPS = 8 / 255


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def weight():
    return torch.randn(6, 3 * 16 * 8, generator=generator(1))


@pytest.fixture
def victim(weight):
    """One layer, so that the best point of the ball is far from a random one, and known to lie at its corners."""
    return lambda x: torch.tanh(0.01 * x.flatten(1) @ weight.T)


def distance(victim, perturbed, images):
    return (victim(perturbed) - victim(images)).norm(dim=1)


def literal(victim, images, eps, steps, random):
    """The same attack one image at a time, from the same random start."""
    share = torch.rand(images.shape[1:], generator=random)
    found = []
    for image, budget in zip(images, eps, strict=True):
        lower = torch.maximum(image - budget, torch.zeros(()))
        upper = torch.minimum(image + budget, torch.ones(()))
        x = (lower + share * (upper - lower))[None]
        for _ in range(steps):
            x = x.detach().requires_grad_()
            ((victim(x) - victim(image[None]).detach()) ** 2).sum().backward()
            x = x.detach() + 2.5 * budget / steps * x.grad.sign()
            x = torch.where(x > upper, upper, torch.where(x < lower, lower, x))
        found.append(x)
    return torch.cat(found)


class TestPushAway:
    def test_equals_the_literal_attack(self, victim, images):
        eps = torch.tensor([2.0, 8.0, 4.0, 0.0]).view(4, 1, 1, 1) / 255
        got = push_away(victim, images, eps, 3, generator())
        expected = literal(victim, images, eps, 3, generator())
        differ = (got - expected).abs() > 1e-6  # a gradient of zero up to rounding may have either sign
        assert differ.float().mean() < 0.005

    def test_stays_in_the_ball_and_in_the_range_of_images_and_reaches_the_border(self, victim, images):
        perturbed = push_away(victim, images, EPS, 5, generator())
        assert perturbed.min() >= 0
        assert perturbed.max() <= 1
        assert (perturbed - images).abs().max().item() == pytest.approx(EPS, abs=1e-6)

    def test_goes_farther_than_its_random_start(self, victim, images):
        start = push_away(victim, images, EPS, 0, generator())
        assert (start != images).any()
        assert (start - images).abs().max() <= EPS + 1e-6
        perturbed = push_away(victim, images, EPS, 5, generator())
        assert (distance(victim, perturbed, images) > 2 * distance(victim, start, images)).all()

    def test_more_steps_are_not_worse(self, victim, images):
        few, many = (distance(victim, push_away(victim, images, EPS, n, generator()), images).mean() for n in (1, 15))
        assert many > few

    def test_each_image_may_have_its_own_budget(self, victim, images):
        eps = torch.tensor([0.0, 1.0, 4.0, 16.0]).view(4, 1, 1, 1) / 255
        perturbed = push_away(victim, images, eps, 5, generator())
        spent = (perturbed - images).abs().amax((1, 2, 3))
        assert torch.equal(perturbed[0], images[0])
        assert spent.tolist() == pytest.approx([0.0, 1 / 255, 4 / 255, 16 / 255], abs=1e-6)

    def test_the_same_seed_gives_the_same_images(self, victim, images):
        one, again, other = (push_away(victim, images, EPS, 2, generator(seed)) for seed in (0, 0, 1))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)

    def test_leaves_images_and_global_randomness_alone_and_carries_no_graph(self, victim, images):
        before, state = images.clone(), torch.get_rng_state()
        perturbed = push_away(victim, images, EPS, 2, generator())
        assert torch.equal(images, before)
        assert not images.requires_grad
        assert not perturbed.requires_grad
        assert torch.equal(torch.get_rng_state(), state)

    def test_works_where_gradients_are_switched_off(self, victim, images):
        with torch.no_grad():
            off = push_away(victim, images, EPS, 3, generator())
        assert torch.equal(off, push_away(victim, images, EPS, 3, generator()))

    def test_leaves_the_gradients_of_a_network_alone(self, images):
        model = models.create("resnet10", 3, seed=0).eval()
        start, perturbed = (push_away(model.features, images, EPS, n, generator()) for n in (0, 4))
        assert all(p.grad is None for p in model.parameters())
        with torch.no_grad():
            far, near = (distance(model.features, x, images) for x in (perturbed, start))
        assert (far > 2 * near).all()


class TestFeaturePGD:
    def test_has_the_threat_of_an_image_added(self, victim):
        attack = FeaturePGD(victim, EPS)
        assert attack.noise_type is None
        assert attack.threat == Threat(0.0, EPS)

    def test_by_default_takes_15_steps_within_8_grey_levels(self, victim, images):
        perturbed, _ = FeaturePGD(victim).attack(images)
        assert torch.equal(perturbed, push_away(victim, images, EPS, 15, seeds.generator(0)))

    def test_the_same_images_give_the_same_result(self, victim, images):
        attack = FeaturePGD(victim, EPS, steps=2)
        assert torch.equal(attack.attack(images)[0], attack.attack(images)[0])
        assert not torch.equal(attack.attack(images)[0], FeaturePGD(victim, EPS, 2, seed=1).attack(images)[0])

    def test_measures_what_it_spent(self, victim, images):
        perturbed, spent = FeaturePGD(victim, EPS, steps=3).attack(images)
        assert spent.keys() == {"color", "delta", "total", "total_8bit"}
        assert spent["color"] == 0.0
        assert spent["delta"] == spent["total"] == (perturbed - images).abs().max().item()
        assert spent["total"] <= EPS + 1e-6
        assert spent["total_8bit"] <= EPS + 0.5 / 255 + 1e-6
