"""Batches of a defence: the perturbed half is inside the threat, before any normalisation, and keeps its labels."""

import pytest
import torch
from small_sets import drawn

from reid import UsageError, attacks
from reid.attacks import Threat, controls
from reid.loading import Images
from reid.training import TrainingSet
from reid.training.adversaries.per_image import PerImage
from reid.training.adversaries.universal import Online, Pool
from reid.training.batches import TrainingBatch, with_perturbed

COLOR, DELTA = 8 / 255, 4 / 255
HEIGHT, WIDTH = 32, 16
KINDS = ("pool 0", "pool 1", "pool 2", "online 0", "online 1", "online 2", "pgd")
BUDGETS = {"0": COLOR + DELTA, "1": COLOR, "2": DELTA}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def budget(kind):
    """The most that the attacker may do to a pixel."""
    return BUDGETS[kind[-1]] if kind != "pgd" else COLOR


@pytest.fixture
def attacker(kind, tiny):
    """One that spends its whole budget wherever it can, so that a broken bound shows."""
    if kind == "pgd":
        return PerImage(tiny, COLOR, steps=2)
    noise_type, threat = int(kind[-1]), Threat(COLOR, DELTA)
    if kind.startswith("pool"):
        size = () if noise_type == 1 else (HEIGHT, WIDTH)
        make = (controls.random_both, controls.random_lut, controls.random_sign)[noise_type]
        return Pool([make(threat, 0, *size)])
    return Online(attacks.create(noise_type, COLOR, DELTA, HEIGHT, WIDTH), seed=0)


@pytest.fixture
def batch(clean, labels, attacker):
    return with_perturbed(drawn(clean, labels), attacker, generator(), virtual=False)[0]


def change_per_image(batch):
    return (batch.perturbed - batch.clean[::2]).detach().abs().amax((1, 2, 3))


class TestPerturbedHalf:
    def test_is_within_the_budget_and_in_the_range_of_images(self, batch, budget):
        assert batch.perturbed.shape == (4, 3, HEIGHT, WIDTH)
        assert batch.perturbed.min() >= 0
        assert batch.perturbed.max() <= 1
        assert change_per_image(batch).max() <= budget + 1e-6

    def test_each_image_has_its_own_budget_below_the_largest(self, clean, labels, attacker, budget):
        draws = [with_perturbed(drawn(clean, labels), attacker, generator(seed), False)[0] for seed in range(5)]
        spent = torch.cat([change_per_image(batch) for batch in draws])
        assert len(spent.unique()) == len(spent)
        assert (spent > 0).all()
        assert (spent < budget).all()
        assert spent.max() > 0.6 * budget
        assert spent.min() < 0.5 * budget

    def test_labels_follow_the_images(self, clean, attacker):
        """A perturbed image is near no clean image but its own, and has that one's label."""
        own_labels = torch.arange(8)
        batch, _ = with_perturbed(drawn(clean, own_labels), attacker, generator(), virtual=False)
        distances = (batch.perturbed[:, None] - clean).detach().abs().amax((2, 3, 4))
        assert distances.argmin(1).tolist() == [0, 2, 4, 6]
        assert batch.labels.tolist() == [*range(8), 0, 2, 4, 6]

    def test_is_half_of_each_identity(self, batch):
        assert batch.labels[8:].tolist() == [3, 3, 1, 1]

    def test_comes_after_the_clean_images_which_stay_as_they_are(self, batch, clean, labels):
        assert torch.equal(batch.images[:8], clean)
        assert torch.equal(batch.images[8:], batch.perturbed)
        assert torch.equal(batch.labels[:8], labels)
        assert batch.clean is clean

    def test_the_same_seed_gives_the_same_images(self, batch, clean, labels, attacker):
        again, other = (with_perturbed(drawn(clean, labels), attacker, generator(seed), False)[0] for seed in (0, 1))
        assert torch.equal(batch.perturbed, again.perturbed)
        assert not torch.equal(batch.perturbed, other.perturbed)

    def test_is_a_leaf_that_asks_for_a_gradient_only_if_the_attacker_learns(self, clean, labels, attacker, kind):
        batch, made = with_perturbed(drawn(clean, labels), attacker, generator(), False)
        assert torch.equal(batch.perturbed, made)
        assert batch.perturbed.is_leaf
        assert batch.perturbed.requires_grad == made.requires_grad == kind.startswith("online")


class TestAllPerturbed:
    def test_leaves_no_clean_image_and_keeps_all_labels(self, clean, attacker, budget):
        batch, made = with_perturbed(drawn(clean, torch.arange(8)), attacker, generator(), virtual=True, every=1)
        assert (len(batch.clean), batch.every, batch.virtual) == (0, 1, True)
        assert torch.equal(batch.images, batch.perturbed)
        assert torch.equal(batch.perturbed, made)
        assert batch.before is clean
        assert batch.labels.tolist() == [*range(8)]
        change = (batch.perturbed - clean).detach().abs().amax((1, 2, 3))
        assert 0 < change.min() <= change.max() <= budget + 1e-6
        assert ((batch.perturbed[:, None] - clean).detach().abs().amax((2, 3, 4))).argmin(1).tolist() == [*range(8)]

    def test_is_a_leaf_that_asks_for_a_gradient_only_if_the_attacker_learns(self, clean, labels, attacker, kind):
        batch, _ = with_perturbed(drawn(clean, labels), attacker, generator(), False, every=1)
        assert batch.perturbed.is_leaf
        assert batch.perturbed.requires_grad == kind.startswith("online")


class TestBatch:
    def test_without_an_attacker_there_is_no_perturbed_half(self, clean, labels):
        batch, made = with_perturbed(drawn(clean, labels), None, generator(), virtual=True)
        assert (batch.perturbed, made) == (None, None)
        assert torch.equal(batch.images, clean)
        assert torch.equal(batch.labels, labels)

    @pytest.mark.parametrize("virtual", [False, True])
    def test_says_which_head_knows_its_labels(self, clean, labels, virtual):
        assert with_perturbed(drawn(clean, labels), None, generator(), virtual)[0].virtual is virtual

    def test_gradients_reach_the_perturbed_images(self, clean, labels):
        perturbed = clean[::2].clone().requires_grad_()
        (3 * TrainingBatch(clean, perturbed, labels, clean).images).sum().backward()
        assert torch.equal(perturbed.grad, torch.full_like(perturbed, 3.0))


class TestTrainingSet:
    def batches(self, data, epoch):
        return list(data.epoch(epoch, 3, torch.device("cpu")))

    def test_gives_p_x_k_images_in_the_range_of_images_with_labels_from_zero(self, training_set, people):
        data = training_set("real")
        assert data.num_classes == 5
        for indices, images, labels, before in self.batches(data, 0):
            assert before is images
            assert images.shape == (8, 3, HEIGHT, WIDTH)
            assert images.min() >= 0
            assert images.max() <= 1
            assert labels.tolist() == [people["real"][i].pid // 10 - 1 for i in indices]
            assert len(set(labels.tolist())) == 4
            assert labels[::2].tolist() == labels[1::2].tolist()

    def test_depends_on_seed_and_epoch_alone(self, training_set):
        data = training_set("real")
        first, other = self.batches(data, 0), self.batches(data, 1)
        again = self.batches(training_set("real"), 0)
        for one, two in zip(first, again, strict=True):
            assert list(one[0]) == list(two[0])
            assert torch.equal(one[1], two[1])
        assert not torch.equal(first[0][1], other[0][1])
        assert not torch.equal(first[0][1], self.batches(training_set("real", seed=1), 0)[0][1])

    def test_colour_jitter_comes_last_and_depends_on_seed_and_epoch_too(self, training_set):
        plain, first, again = (self.batches(training_set("real", jitter=jitter), 0) for jitter in (0.0, 1.0, 1.0))
        for without, one, two in zip(plain, first, again, strict=True):
            assert list(without.indices) == list(one.indices)
            assert torch.equal(without.images, one.before)
            assert not torch.equal(without.images, one.images)
            assert torch.equal(one.images, two.images)

    def test_a_set_without_enough_identities_is_named_in_one_line(self, people):
        images = Images(HEIGHT, WIDTH, workers=1)
        with pytest.raises(UsageError, match="8 identities, and synth-virtual has 6") as caught:
            TrainingSet("synth-virtual", people["virtual"], images, batch_size=16, num_instances=2, seed=0)
        assert "\n" not in str(caught.value)
