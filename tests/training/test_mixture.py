"""Several adversaries that share each batch."""

import pytest
import torch

from reid import attacks
from reid.attacks import Threat, controls
from reid.training.adversaries.base import Mixture
from reid.training.adversaries.universal import Online, Pool

EPS = 8 / 255


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.full((6, 3, 16, 8), 0.5)


@pytest.fixture
def colours():
    """Changes colours alone, the same way all over a grey image."""
    return Pool([controls.random_lut(Threat(EPS, EPS), seed=0)])


@pytest.fixture
def online():
    return Online(attacks.create(2, EPS, EPS, 16, 8), seed=0)


def is_flat(changes):
    """Whether each image changed by one colour everywhere, as a table does to grey, and a delta does not."""
    return (changes.amax((2, 3)) - changes.amin((2, 3))).amax(1) < 1e-6


def test_each_member_has_its_share_of_every_batch_drawn_anew(images, colours, online):
    mixture = Mixture([colours, online])
    flat = [is_flat(mixture.perturb(images, generator(seed)) - images) for seed in range(8)]
    assert all(which.sum() == 3 for which in flat)
    assert len({tuple(which.tolist()) for which in flat}) > 1


def test_images_keep_their_places(colours, online):
    images = torch.linspace(0.1, 0.9, 6).view(6, 1, 1, 1).expand(6, 3, 16, 8)
    made = Mixture([colours, online]).perturb(images, generator())
    assert (made - images).abs().max() <= EPS + 1e-6
    assert made.mean((1, 2, 3)).argsort().tolist() == list(range(6))


def test_a_member_that_learns_learns_from_its_own_images(images, colours, online):
    mixture = Mixture([colours, online])
    made = mixture.perturb(images, generator())
    mine = ~is_flat((made - images).detach())
    before = online.noise.delta.detach().clone()
    gradient = torch.zeros_like(made)
    gradient[~mine] = 1.0
    mixture.learn([made], [gradient])
    assert torch.equal(online.noise.delta, before)
    gradient[mine] = 1.0
    mixture.learn([mixture.perturb(images, generator())], [gradient])
    assert (online.noise.delta >= before).all()
    assert (online.noise.delta > before).any()
    assert online.noise.delta.abs().max() <= EPS + 1e-6


def test_two_that_learn_do_not_disturb_each_other(images):
    members = [Online(attacks.create(2, EPS, EPS, 16, 8), seed) for seed in (0, 1)]
    before = [member.noise.delta.detach().clone() for member in members]
    mixture = Mixture(members)
    made = mixture.perturb(images, generator())
    mixture.learn([made], [torch.ones_like(made)])
    assert all((member.noise.delta != old).any() for member, old in zip(members, before, strict=True))


def test_a_batch_too_small_for_all_of_them_still_works(colours, online):
    image = torch.full((1, 3, 16, 8), 0.5)
    mixture = Mixture([colours, online])
    made = mixture.perturb(image, generator())
    assert made.shape == image.shape
    if made.requires_grad:
        mixture.learn([made], [torch.ones_like(made)])


def test_the_worst_of_all_members_selects_the_epoch(colours, online):
    assert Mixture([colours, online]).attacks() == [*colours.perturbations, online.noise]


def test_goes_on_from_its_state(images, colours, online):
    mixture = Mixture([colours, online])
    made = mixture.perturb(images, generator())
    mixture.learn([made], [torch.ones_like(made)])
    other = Mixture([colours, Online(attacks.create(2, EPS, EPS, 16, 8), seed=5)])
    other.load_state_dict(mixture.state_dict())
    assert torch.equal(mixture.perturb(images, generator(3)), other.perturb(images, generator(3)))
