"""How long and how hard to train: learning rates over time."""

import pytest

from reid import UsageError
from reid.training import Schedule


def defence(epochs=85, iters_per_epoch=1):
    return Schedule(epochs, iters_per_epoch, lr=2e-4, shape="late")


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
        schedule, total = defence(epochs, iters_per_epoch), epochs * iters_per_epoch
        assert schedule.lr_at(total * 40 // 85) == 2e-4
        assert schedule.lr_at(total * 40 // 85 + 1) < 2e-4
        assert schedule.lr_at(total * 80 // 85) == pytest.approx(2e-5)


def test_epochs_of_perturbed_images_alone_are_at_most_all():
    assert [Schedule(3, 1, only_perturbed=2).every(epoch) for epoch in range(3)] == [2, 1, 1]
    assert Schedule(3, 1, only_perturbed=3).every(0) == 1
    assert Schedule(3, 1).every(2) == 2


@pytest.mark.parametrize("epochs", [-1, 4])
def test_there_are_no_more_of_them_than_epochs(epochs):
    with pytest.raises(UsageError, match=f"--only-perturbed {epochs} is not from 0 to --epochs 3"):
        Schedule(3, 1, only_perturbed=epochs)


class TestCosine:
    def test_warms_up_linearly_over_the_first_tenth(self):
        schedule = Schedule(10, 10, lr=1.0)
        assert [schedule.lr_at(step) for step in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])
        assert schedule.lr_at(10) == 1.0

    def test_then_follows_half_a_cosine_down_to_a_hundredth(self):
        schedule = Schedule(10, 10, lr=1.0)
        assert schedule.lr_at(55) == pytest.approx(0.505)
        assert schedule.lr_at(99) == pytest.approx(0.01, abs=1e-3)
        rates = [schedule.lr_at(step) for step in range(10, 100)]
        assert rates == sorted(rates, reverse=True)

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_works_for_hardly_any_steps(self, steps):
        assert all(0 < Schedule(steps, 1, lr=1.0).lr_at(step) <= 1 for step in range(steps))


def test_an_unknown_shape_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="schedule 'step' is not one of cosine, late"):
        Schedule(1, 1, shape="step")
