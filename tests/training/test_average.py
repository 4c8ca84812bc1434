"""Averaged weights: what they are of, that they are what is kept, and that training goes on without them."""

import contextlib
import copy
from pathlib import Path

import pytest
import torch

from reid import UsageError, attacks, models
from reid.defenses import DEFENSES
from reid.runtime.device import Compute
from reid.runtime.snapshot import Run
from reid.training import BEST_FILE, ReidLoss, Schedule, Selection, Trainer
from reid.training.adversaries.universal import Online
from reid.training.average import Average

CPU = Compute(torch.device("cpu"), "fp32")


def state_of(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture
def build(tiny_once, training_set):
    """`build(ema)`: a trainer of 2 epochs of 2 steps with the anchored defence, on both sets."""

    def trainer(ema=0.5, **changes):
        sets = [training_set("real", seed=0), training_set("virtual", seed=1)]
        adversary = Online(attacks.create(0, 8 / 255, 8 / 255, 32, 16), seed=0)
        schedule = Schedule(2, 2, lr=1e-3, shape="late", new_layers=3, ema=ema, **changes)
        defense = DEFENSES["anchored"]()
        return Trainer(copy.deepcopy(tiny_once), defense, sets, schedule, ReidLoss(), CPU, 0, adversary)

    return trainer


def run_in(folder, resume_from=None):
    return Run(folder, resume_from, {"lr": "0.001"})


class TestAverage:
    def test_is_the_written_out_sum(self):
        model = torch.nn.BatchNorm1d(1)
        average = Average(model, 0.75)
        for value in (2.0, 3.0):
            with torch.no_grad():
                model.weight.fill_(value)
                model.running_mean.fill_(value)
                model.num_batches_tracked.add_(1)
            average.update()
        expected = 0.75 * (0.75 * 1.0 + 0.25 * 2.0) + 0.25 * 3.0  # weights start at 1, the running mean at 0
        with average.in_place():
            assert model.weight.item() == pytest.approx(expected)
            assert model.running_mean.item() == pytest.approx(expected - 0.75**2)
            assert model.num_batches_tracked == 2
        assert model.weight.item() == 3.0

    @pytest.mark.parametrize(("decay", "trained"), [(0.0, 3.0), (0.75, 0.75 * 1.0 + 0.25 * 3.0)])
    def test_is_mixed_with_the_start(self, decay, trained):
        model = torch.nn.BatchNorm1d(1)
        average = Average(model, decay, 0.4)
        with torch.no_grad():
            model.weight.fill_(3.0)
            model.running_mean.fill_(3.0)
            model.num_batches_tracked.add_(1)
        average.update()
        with average.in_place():
            assert model.weight.item() == pytest.approx(0.4 * 1.0 + 0.6 * trained)
            assert model.running_mean.item() == pytest.approx(0.6 * (trained - decay))
            assert model.num_batches_tracked == 1
        assert model.weight.item() == 3.0

    def test_with_nothing_but_the_start_is_the_start(self, tiny):
        average, before = Average(tiny, 0.5, 1.0), state_of(tiny)
        with torch.no_grad():
            tiny.base.conv1.weight.zero_()
        average.update()
        with average.in_place():
            assert same(tiny.state_dict(), before)

    def test_gives_the_model_back_after_an_error(self, tiny):
        before, average = state_of(tiny), Average(copy.deepcopy(tiny), 0.5)
        average._model = tiny
        with torch.no_grad():
            average._state["base.conv1.weight"].zero_()
        with contextlib.suppress(RuntimeError), average.in_place():
            assert not tiny.base.conv1.weight.any()
            raise RuntimeError
        assert same(tiny.state_dict(), before)

    def test_of_no_decay_is_the_model_itself(self, tiny):
        average, before = Average(tiny, 0.0), state_of(tiny)
        average.update()
        with average.in_place():
            assert same(tiny.state_dict(), before)
        assert average.state_dict() == {}


class TestTraining:
    @pytest.mark.parametrize("ema", [0.0, 0.5])
    def test_keeps_the_mixture_with_the_start_and_goes_on_from_the_weights(self, build, ema, tmp_path):
        plain, mixed = build(ema), build(ema, start_share=0.25)
        start = state_of(mixed.network.model)
        trained = models.read_checkpoint(plain.train(run_in(tmp_path / "plain"), Selection(None)))
        kept = models.read_checkpoint(mixed.train(run_in(tmp_path / "mixed"), Selection(None)))
        assert same(mixed.network.state_dict(), plain.network.state_dict())
        for name, value in kept.items():
            share = 0.25 if value.is_floating_point() else 0
            torch.testing.assert_close(value, share * start[name] + (1 - share) * trained[name], check_dtype=False)

    def test_validates_and_keeps_the_average_and_goes_on_from_the_weights(self, build, tmp_path):
        seen = []
        plain, averaged = build(ema=0.0), build(ema=0.5)

        def validate():
            seen.append(state_of(averaged.network.model))
            return {"a": len(seen)}

        plain.train(run_in(tmp_path / "plain"), Selection(None))
        path = averaged.train(run_in(tmp_path / "averaged"), Selection(validate))
        assert same(averaged.network.state_dict(), plain.network.state_dict())
        assert same(models.read_checkpoint(path), seen[-1])
        assert same(seen[-1], averaged.average.state_dict())
        assert not torch.equal(seen[-1]["base.conv1.weight"], plain.network.model.base.conv1.weight)

    @pytest.mark.parametrize(("ema", "alone"), [(0.0, 0), (0.5, 0), (0.5, 1)])
    @pytest.mark.parametrize("share", [0.0, 0.5])
    def test_a_run_killed_in_the_midst_of_an_epoch_ends_bitwise_as_the_uninterrupted_one(
        self, build, ema, alone, share, tmp_path, killed
    ):
        changes = {"only_perturbed": alone, "start_share": share}
        straight = build(ema, **changes)
        straight.train(run_in(tmp_path / "straight"), Selection(None))
        with killed():
            build(ema, **changes).train(run_in(tmp_path / "killed", "auto"), Selection(None))
        again = build(ema, **changes)
        path = again.train(run_in(tmp_path / "killed", "auto"), Selection(None))
        assert same(again.network.state_dict(), straight.network.state_dict())
        assert same(again.average.state_dict(), straight.average.state_dict())
        assert same(state_of(again.adversary.noise), state_of(straight.adversary.noise))
        assert same(models.read_checkpoint(path), models.read_checkpoint(tmp_path / "straight" / BEST_FILE))


class TestMove:
    def test_late_leaves_the_first_three_quarters_of_the_backbone(self, small_once, training_set):
        """Which in a resnet10 is all but its last stage."""
        model, sets = copy.deepcopy(small_once), [training_set("real")]
        before = state_of(model)
        schedule = Schedule(1, 1, lr=1e-3, move="late")
        trainer = Trainer(model, DEFENSES["none"](), sets, schedule, ReidLoss(), CPU, 0)
        trainer._epoch(0, run_in(Path("not written")))
        moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
        late = {name for name, _ in model.named_parameters() if not name.startswith("base.")}
        assert moved == late | {name for name, _ in model.named_parameters() if name.startswith("base.layer4.")}

    def test_an_unknown_one_is_refused(self):
        with pytest.raises(UsageError, match="move 'early' is not one of all, late"):
            Schedule(1, 1, move="early")
