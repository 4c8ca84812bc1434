"""Whole training runs on a handful of images: what they change, what they leave, how they stop and go on."""

import copy
import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from accelerator import DEVICE, accelerator

from reid import ReidError, attacks, models
from reid.attacks import Threat, controls
from reid.defenses import DEFENSES
from reid.runtime.device import Compute
from reid.runtime.seeds import seed_everything
from reid.runtime.snapshot import STATE_FILE, Run
from reid.training import BEST_FILE, ReidLoss, Schedule, Selection, Trainer
from reid.training import trainer as train
from reid.training.adversaries.base import Mixture
from reid.training.adversaries.per_image import PerImage
from reid.training.adversaries.universal import Online, Pool
from reid.training.layers import TwiceBatchNorm

EPS = 8 / 255
LAST = Selection(validate=None)
CPU = Compute(torch.device("cpu"), "fp32")
KINDS = ("none", "adversarial", "mixed", "meta first", "meta second")


def pool():
    return Pool([controls.random_both(Threat(EPS, EPS), 0, 32, 16)])


def online():
    return Online(attacks.create(0, EPS, EPS, 32, 16), seed=0)


@pytest.fixture
def build(tiny_once, training_set):
    """`build(kind, adversary)`: a trainer of 2 epochs of 2 steps, of a fresh copy of the tiny network."""

    def trainer(kind, adversary=None, model=tiny_once, compute=CPU, inner_lr=None, **changes):
        name, _, order = kind.partition(" ")
        settings = {"inner_order": order, "inner_lr": inner_lr} if order else {}
        return Trainer(
            copy.deepcopy(model),
            DEFENSES[name](**settings),
            [training_set("real", seed=0), training_set("virtual", seed=1)],
            Schedule(**({"epochs": 2, "iters_per_epoch": 2, "lr": 1e-3, "shape": "late", "new_layers": 3} | changes)),
            ReidLoss(),
            compute,
            0,
            adversary or pool(),
        )

    return trainer


def run_in(folder, resume_from=None):
    return Run(folder, resume_from, {"lr": "0.001"})


@pytest.mark.parametrize(("kind", "fast"), [("meta second", True), ("meta first", False), ("adversarial", False)])
def test_only_the_second_order_puts_in_a_batch_normalisation_of_its_own(build, kind, fast):
    model = build(kind, pool()).network.model
    kinds = {type(layer) for layer in model.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)}
    assert kinds == ({TwiceBatchNorm} if fast else {torch.nn.BatchNorm1d, torch.nn.BatchNorm2d})


NOWHERE = run_in(Path("not written"))  # for single epochs


def weights_of(network):
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


class TestOneEpoch:
    @pytest.fixture(params=KINDS)
    def kind(self, request):
        return request.param

    @pytest.fixture
    def trainer(self, build, kind):
        return build(kind, epochs=1)

    def test_changes_every_weight_and_stays_finite(self, trainer, kind, tmp_path):
        before = {name: value.detach().clone() for name, value in trainer.network.weights().items()}
        path = trainer.train(run_in(tmp_path), LAST)
        after = trainer.network.weights()
        assert not any(torch.equal(value, before[name]) for name, value in after.items())
        assert all(value.isfinite().all() for value in trainer.network.state_dict().values())

        # running statistics follow the source alone: one update for each step, the look-ahead has none
        assert trainer.network.model.base.bn1.num_batches_tracked == 2

        (line,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        both = {"loss_tr", "loss_te"} if kind.startswith(("mixed", "meta")) else {"loss_tr"}
        assert line.keys() == {"epoch", "gradient", "precision", "lr", "seconds", *both}
        assert all(0 < line[name] < 10 for name in both)
        assert 0 <= line["precision"] <= 1

        # what is saved is the model: the head of the virtual identities is not in it
        assert path == tmp_path / BEST_FILE
        assert same(models.read_checkpoint(path), trainer.network.model.state_dict())

    def test_the_network_sees_images_before_normalisation_the_perturbed_half_within_its_budget(self, trainer, kind):
        seen = []
        trainer.network.model.normalise.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
        trainer._epoch(0, NOWHERE)
        assert [len(images) for images in seen] == [8 if kind == "none" else 12] * (
            4 if kind.startswith(("mixed", "meta")) else 2
        )
        for images in seen:
            assert images.min() >= 0
            assert images.max() <= 1
            change = (images[8:] - images[: 2 * len(images[8:]) : 2]).abs()
            assert (change.amax((1, 2, 3)) > 0).all()
            assert (change.amax((1, 2, 3)) <= 2 * EPS + 1e-6).all()


def test_the_file_of_a_whole_resnet10_is_read_like_any_other(build, small_once, tmp_path):
    trainer = build("meta second", model=small_once, epochs=1, iters_per_epoch=1)
    model, report = models.load_model(trainer.train(run_in(tmp_path), LAST))
    assert report.unexpected == report.missing == report.mismatched == []
    assert same(model.state_dict(), trainer.network.model.state_dict())
    assert not torch.equal(model.base.layer4[0].conv1.weight, small_once.base.layer4[0].conv1.weight)


class TestUndefended:
    def test_is_ordinary_training(self, build, training_set, tiny_once):
        trainer, schedule = build("none"), Schedule(2, 2, lr=1e-3, shape="late", new_layers=3)
        trainer._epoch(0, NOWHERE)

        model = copy.deepcopy(tiny_once).to(memory_format=torch.channels_last)
        body = [p for name, p in model.named_parameters() if name.startswith("base.") and p.requires_grad]
        new = [p for name, p in model.named_parameters() if not name.startswith("base.")]
        optimizer = torch.optim.Adam([{"params": body}, {"params": new}], lr=1e-3, weight_decay=5e-4)
        seed_everything(0, 0)
        for step, (_, images, labels, _) in enumerate(training_set("real").epoch(0, 2, torch.device("cpu"))):
            for group, factor in zip(optimizer.param_groups, (1, 3), strict=True):
                group["lr"] = factor * schedule.lr_at(step)
            optimizer.zero_grad()
            loss = ReidLoss()(*model(images), labels)[0]
            loss.backward()
            optimizer.step()
        for name, value in trainer.network.model.state_dict().items():
            torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)


class TestLook:
    @pytest.fixture
    def inners(self, monkeypatch):
        """The inner steps that training asks for."""
        asked, real = [], train.step_gradients

        def recording(loss_of, weights, source, virtual=None, inner=None):
            asked.append(inner)
            return real(loss_of, weights, source, virtual, inner)

        monkeypatch.setattr(train, "step_gradients", recording)
        return asked

    @pytest.mark.parametrize("order", ["first", "second"])
    def test_takes_the_outer_rate_and_three_times_that_for_new_layers(self, build, inners, order):
        build(f"meta {order}", epochs=4)._epoch(3, NOWHERE)
        expected = [Schedule(4, 2, lr=1e-3, shape="late").lr_at(step) for step in (6, 7)]
        assert expected[1] < expected[0] < 1e-3
        for inner, rate in zip(inners, expected, strict=True):
            assert (inner.order, inner.weight_decay) == (order, 5e-4)
            assert inner.lr["model.base.conv1.weight"] == pytest.approx(rate)
            assert inner.lr["model.feat.weight"] == inner.lr["virtual_head.weight"] == pytest.approx(3 * rate)

    def test_may_have_a_rate_of_its_own(self, build, inners):
        build("meta second", inner_lr=0.02)._epoch(1, NOWHERE)
        assert [inner.lr["model.base.conv1.weight"] for inner in inners] == [0.02, 0.02]
        assert [inner.lr["virtual_head.weight"] for inner in inners] == [0.06, 0.06]

    @pytest.mark.parametrize("kind", ["none", "adversarial", "mixed"])
    def test_is_what_the_baselines_do_without(self, build, inners, kind):
        build(kind)._epoch(0, NOWHERE)
        assert inners == [None, None]


class TestAdversaries:
    def test_an_online_one_learns_from_both_sets(self, build, monkeypatch):
        trainer = build("meta second", online())
        noise, before = trainer.adversary.noise, weights_of(trainer.adversary.noise)
        given, learn = [], trainer.adversary.learn

        def recording(made, gradients):
            given.append((len(made), len(gradients)))
            learn(made, gradients)

        monkeypatch.setattr(trainer.adversary, "learn", recording)
        trainer._epoch(0, NOWHERE)
        assert given == [(2, 2), (2, 2)]
        assert not any(torch.equal(value, before[name]) for name, value in noise.named_parameters())

    def test_one_for_each_image_leaves_the_running_statistics_to_the_training(self, build):
        trainer = build("adversarial")
        trainer.adversary = PerImage(trainer.network.model, EPS, steps=2)
        trainer._epoch(0, NOWHERE)
        assert trainer.network.model.base.bn1.num_batches_tracked == 2
        assert trainer.network.training

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_all_kinds_leave_an_accelerator_one_wait_in_a_step(self, build, kind):
        with accelerator() as device:
            trainer = build(kind, compute=Compute(DEVICE, "fp32"))
            if kind != "none":
                frozen, learnt = pool().perturbations[0].to(DEVICE), attacks.create(0, EPS, EPS, 32, 16).to(DEVICE)
                each = PerImage(trainer.network.model, EPS, steps=2)
                trainer.adversary = Mixture([Pool([frozen]), Online(learnt, seed=0), each])
            trainer._epoch(0, NOWHERE)
            device.waits.clear()
            trainer._epoch(1, NOWHERE)
            assert len(device.waits) == trainer.schedule.iters_per_epoch


class TestSelection:
    def train(self, trainer, folder, selection):
        saved = models.read_checkpoint(trainer.train(run_in(folder), selection))
        return torch.load(folder / BEST_FILE, weights_only=True), saved

    def scores(self, *values):
        given = iter(values)
        return lambda: next(given)

    def test_keeps_the_epoch_with_the_highest_mean(self, build, tmp_path):
        scores = self.scores({"a": 0.2, "b": 0.8}, {"a": 0.9, "b": 0.3}, {"a": 0.5, "b": 0.5})
        file, _ = self.train(build("none", epochs=3, iters_per_epoch=1), tmp_path, Selection(scores))
        assert (file["epoch"], file["best_top1"]) == (2, pytest.approx(0.6))
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert [line["a"] for line in lines] == [0.2, 0.9, 0.5]

    def test_without_scores_keeps_the_last_epoch(self, build, tmp_path):
        trainer = build("none", iters_per_epoch=1)
        file, saved = self.train(trainer, tmp_path, LAST)
        assert file["epoch"] == 2
        assert same(saved, trainer.network.model.state_dict())

    def test_keeps_none_before_the_first_that_may_be_kept(self, build, tmp_path):
        scores = self.scores({"a": 0.9}, {"a": 0.1}, {"a": 0.2})
        file, _ = self.train(build("none", epochs=3, iters_per_epoch=1), tmp_path, Selection(scores, first=1))
        assert (file["epoch"], file["best_top1"]) == (3, 0.2)

    @pytest.mark.parametrize(
        ("selection", "due"),
        [
            (Selection(None), [False, False, False, False, True]),
            (Selection(dict), [True] * 5),
            (Selection(dict, every=2), [False, True, False, True, True]),
            (Selection(dict, every=9), [False, False, False, False, True]),
        ],
    )
    def test_scores_every_so_many_epochs_and_after_the_last(self, selection, due):
        assert [selection.due(epoch, 5) for epoch in range(5)] == due

    def test_scores_that_leave_the_network_in_inference_do_not_change_the_training(self, build, tmp_path):
        trainer = build("none")
        trainer.train(run_in(tmp_path), Selection(lambda: {"a": float(trainer.network.eval().training)}))
        assert trainer.network.model.base.bn1.num_batches_tracked == 4

    def test_a_file_says_how_it_was_made(self, build, tmp_path):
        build("none", epochs=1, iters_per_epoch=1).train(run_in(tmp_path), LAST)
        content = torch.load(tmp_path / BEST_FILE, weights_only=True)
        assert (content["trained_on"], content["height"], content["width"]) == ("real", 32, 16)
        assert content["settings"] == {"lr": "0.001"}


class TestResume:
    @pytest.mark.parametrize("kind", ["adversarial", "meta second"])
    def test_a_run_killed_in_the_midst_of_an_epoch_ends_bitwise_as_the_uninterrupted_one(
        self, build, kind, tmp_path, killed
    ):
        straight = build(kind, online())
        straight.train(run_in(tmp_path / "straight"), LAST)

        with killed():
            build(kind, online()).train(run_in(tmp_path / "killed", "auto"), LAST)

        again = build(kind, online())
        path = again.train(run_in(tmp_path / "killed", "auto"), LAST)
        assert same(again.network.state_dict(), straight.network.state_dict())
        assert same(weights_of(again.adversary.noise), weights_of(straight.adversary.noise))
        assert same(models.read_checkpoint(path), models.read_checkpoint(tmp_path / "straight" / BEST_FILE))


class TestNotFinite:
    """A loss that is not finite at epoch 2, step 2."""

    @pytest.fixture
    def poison(self, monkeypatch):
        def at(call, value=math.nan):
            calls, real = itertools.count(), ReidLoss.__call__

            def loss_of(reid_loss, *args):
                loss, precision = real(reid_loss, *args)
                return (loss * value if next(calls) == call else loss), precision

            monkeypatch.setattr(ReidLoss, "__call__", loss_of)

        return at

    def fail(self, trainer, folder):
        kept = []

        def validate():
            kept.append(weights_of(trainer.network))
            return {"a": 0.5}

        with pytest.raises(ReidError) as caught:
            trainer.train(run_in(folder, "auto"), Selection(validate))
        return str(caught.value), kept

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_stops_naming_the_step_the_files_and_the_last_good_state(self, build, people, poison, tmp_path, value):
        poison(3, value)
        trainer = build("none")
        indices = [*trainer.sets[0].epoch(1, 2, CPU.device)][1][0]
        message, _ = self.fail(trainer, tmp_path)
        assert f"(loss_tr {value}, gradient nan)" in message
        assert "epoch 2, step 2" in message
        assert all(people["real"][index].path in message for index in indices)
        assert f"the last good state is {tmp_path / STATE_FILE}" in message
        assert "--lr (now 0.001)" in message
        assert "\n" not in message

    def test_of_the_virtual_set_names_its_files_too(self, build, poison, tmp_path):
        poison(7)  # two losses in each step
        trainer = build("meta second")
        message, _ = self.fail(trainer, tmp_path)
        assert "(loss_te nan, gradient nan)" in message
        assert "epoch 2, step 2" in message
        for data in trainer.sets:
            indices = [*data.epoch(1, 2, CPU.device)][1][0]
            assert all(data.samples[index].path in message for index in indices)

    def test_leaves_the_weights_the_attacker_and_the_files_of_the_last_good_epoch(self, build, poison, tmp_path):
        poison(2)  # the first step of the second epoch
        trainer = build("adversarial", online())
        _, (good,) = self.fail(trainer, tmp_path)
        state = torch.load(tmp_path / STATE_FILE, weights_only=True)
        assert state["epoch"] == 1
        assert same(state["network"], good)
        assert same(state["adversary"]["noise"], weights_of(trainer.adversary.noise))
        live = trainer.network.weights()
        assert all(torch.equal(value, good[name]) for name, value in live.items())
        best = models.read_checkpoint(tmp_path / BEST_FILE)
        assert all(torch.equal(value, good[f"model.{name}"]) for name, value in best.items())

    def test_in_the_first_epoch_there_is_no_good_state_and_none_is_written(self, build, poison, tmp_path):
        poison(1)
        message, _ = self.fail(build("none"), tmp_path)
        assert "epoch 1, step 2" in message
        assert "no epoch was finished before it" in message
        assert not (tmp_path / STATE_FILE).exists()
        assert not (tmp_path / BEST_FILE).exists()

    def test_a_gradient_that_is_not_finite_is_seen_though_the_loss_is(self, build, tmp_path, monkeypatch):
        """At the last step of an epoch: no state and no best model may hold the weights it would give."""
        calls, real = itertools.count(), ReidLoss.__call__

        def loss_of(reid_loss, features, *args):
            loss, precision = real(reid_loss, features, *args)
            if next(calls) == 1:
                loss = loss + 0 * (features.sum() - features.sum().detach()).sqrt()
            return loss, precision

        monkeypatch.setattr(ReidLoss, "__call__", loss_of)
        message, _ = self.fail(build("none"), tmp_path)
        assert "(gradient nan) at epoch 1, step 2" in message
        assert not (tmp_path / STATE_FILE).exists()
        assert not (tmp_path / BEST_FILE).exists()


def test_going_on_before_anything_was_kept_does_not_miss_it(build, tmp_path, killed, caplog):
    with killed():
        build("none").train(run_in(tmp_path, "auto"), LAST)
    build("none").train(run_in(tmp_path, "auto"), LAST)
    assert "is gone" not in caplog.text
