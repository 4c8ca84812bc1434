"""How long and how hard to train: the schedules and the loss switch."""

import pytest
import torch

from reid import UsageError
from reid.training import Recipe
from reid.training.losses import hard_triplet, triplet_and_identity


def defence(epochs=85, iters_per_epoch=1):
    return Recipe(epochs, iters_per_epoch, lr=2e-4, schedule="late")


class TestReleasedSchedule:
    def test_is_constant_to_epoch_40_of_85(self):
        assert [defence().lr_at(epoch) for epoch in range(41)] == [2e-4] * 41

    @pytest.mark.parametrize("epoch", [41, 50, 60, 80, 84])
    def test_then_decays_as_released(self, epoch):
        assert defence().lr_at(epoch) == pytest.approx(2e-4 * 0.1 ** ((epoch - 40) / 40))

    def test_is_a_tenth_at_epoch_80(self):
        assert defence().lr_at(80) == pytest.approx(2e-5)

    @pytest.mark.parametrize(("epochs", "iters_per_epoch"), [(85, 7), (17, 1), (17, 5)])
    def test_has_the_same_shape_for_any_number_of_steps(self, epochs, iters_per_epoch):
        recipe, total = defence(epochs, iters_per_epoch), epochs * iters_per_epoch
        assert recipe.lr_at(total * 40 // 85) == 2e-4
        assert recipe.lr_at(total * 40 // 85 + 1) < 2e-4
        assert recipe.lr_at(total * 80 // 85) == pytest.approx(2e-5)


class TestCosine:
    def test_warms_up_linearly_over_the_first_tenth(self):
        recipe = Recipe(10, 10, lr=1.0)
        assert [recipe.lr_at(step) for step in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])
        assert recipe.lr_at(10) == 1.0

    def test_then_follows_half_a_cosine_down_to_a_hundredth(self):
        recipe = Recipe(10, 10, lr=1.0)
        assert recipe.lr_at(55) == pytest.approx(0.505)
        assert recipe.lr_at(99) == pytest.approx(0.01, abs=1e-3)
        rates = [recipe.lr_at(step) for step in range(10, 100)]
        assert rates == sorted(rates, reverse=True)

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_works_for_hardly_any_steps(self, steps):
        assert all(0 < Recipe(steps, 1, lr=1.0).lr_at(step) <= 1 for step in range(steps))


class TestLoss:
    @pytest.fixture
    def batch(self):
        random = torch.Generator().manual_seed(0)
        features, logits = torch.randn(8, 4, generator=random), torch.randn(8, 3, generator=random)
        return features, logits, torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])

    def test_is_triplet_and_cross_entropy(self, batch):
        recipe = Recipe(1, 1, margin=0.4, smoothing=0.2)
        loss, precision = recipe.loss_of(*batch)
        expected = triplet_and_identity(*batch, 0.4, 0.2)
        assert torch.equal(loss, expected[0])
        assert torch.equal(precision, expected[1])

    def test_is_triplet_alone_as_released(self, batch):
        features, logits, labels = batch
        recipe = Recipe(1, 1, margin=0.4, loss="triplet")
        loss, precision = recipe.loss_of(features, logits.requires_grad_(), labels)
        expected = hard_triplet(features, labels, 0.4)
        assert torch.equal(loss, expected[0])
        assert torch.equal(precision, expected[1])
        assert not loss.requires_grad


@pytest.mark.parametrize("wrong", [{"loss": "ce"}, {"schedule": "step"}])
def test_unknown_names_are_refused_with_the_known_ones(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong.values()))) as caught:
        Recipe(1, 1, **wrong)
    assert all(name in str(caught.value) for name in ("triplet+ce", "triplet", "cosine", "late"))
    assert "\n" not in str(caught.value)
