"""The epochs at the end of a training in which every image is perturbed and none is clean."""

import copy
from dataclasses import dataclass

import pytest
import torch

from reid import UsageError, attacks
from reid.defenses import DEFENSES, Defense
from reid.defenses.anchored import Anchored
from reid.runtime.device import Compute
from reid.runtime.snapshot import Run
from reid.training import ReidLoss, Schedule, Selection, Trainer
from reid.training.adversaries.universal import Online
from reid.training.view import Outputs

CPU = Compute(torch.device("cpu"), "fp32")


@dataclass(frozen=True)
class OfAUser(Defense):
    needs_adversary = True


@pytest.fixture
def build(tiny_once, training_set):
    """`build(alone, defense, jitter)`: a trainer of 2 epochs of 2 steps on both sets, the last `alone` of them without
    clean images."""

    def trainer(alone, defense=None, **changes):
        sets = [training_set("real", seed=0, **changes), training_set("virtual", seed=1, **changes)]
        adversary = Online(attacks.create(0, 8 / 255, 8 / 255, 32, 16), seed=0)
        schedule = Schedule(2, 2, lr=1e-3, only_perturbed=alone)
        model, defense = copy.deepcopy(tiny_once), defense or DEFENSES["anchored"]()
        return Trainer(model, defense, sets, schedule, ReidLoss(), CPU, 0, adversary)

    return trainer


def run_in(folder):
    return Run(folder, None, {"lr": "0.001"})


def drawn_of(trainer):
    return next(iter(trainer.sets[0].epoch(0, 1, CPU.device)))


class TestEpochs:
    @pytest.mark.parametrize(("alone", "expected"), [(0, [2, 2]), (1, [2, 1]), (2, [1, 1])])
    def test_are_the_last(self, build, alone, expected, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(Anchored, "pull", lambda defense, network, outputs: seen.append(outputs.batch) or 0)
        build(alone).train(run_in(tmp_path), Selection(None))
        steps = [{batch.every for batch in seen[first : first + 4]} for first in (0, 4)]  # two steps, two sets
        assert steps == [{every} for every in expected]
        assert len(seen) == 8

    @pytest.mark.parametrize(("alone", "kept"), [(0, 1), (1, 2), (2, 1)])
    def test_give_the_model_that_is_kept(self, build, alone, kept, tmp_path):
        """However much better one of the epochs before them was."""
        scores = iter([0.9, 0.5])
        path = build(alone).train(run_in(tmp_path), Selection(lambda: {"mAP": next(scores)}, 1))
        assert torch.load(path, weights_only=True)["epoch"] == kept

    @pytest.mark.parametrize("name", ["adversarial", "mixed", "meta", "fare", "anchored", "gallery"])
    def test_train_the_model_and_the_adversary(self, build, name, tmp_path):
        trainer = build(2, DEFENSES[name]())
        before, noise = copy.deepcopy(trainer.network.model), copy.deepcopy(trainer.adversary.noise.state_dict())
        trainer.train(run_in(tmp_path), Selection(None))
        assert not torch.equal(before.base.conv1.weight, trainer.network.model.base.conv1.weight)
        assert any(not torch.equal(value, noise[name]) for name, value in trainer.adversary.noise.state_dict().items())


class TestBatches:
    def test_have_an_aim_for_each_image(self, build):
        trainer = build(2)
        drawn = drawn_of(trainer)
        aims = {every: trainer._aim(False, drawn, every) for every in (1, 2)}
        assert aims[1].pids.tolist() == drawn.labels.tolist()
        assert aims[2].pids.tolist() == drawn.labels[::2].tolist()
        assert torch.equal(aims[1].clean[::2], aims[2].clean)

    @pytest.mark.parametrize("jitter", [0.0, 1.0])
    def test_remember_the_images_without_jitter_and_perturbation(self, build, jitter):
        trainer = build(1, jitter=jitter)
        drawn = drawn_of(trainer)
        batch, _ = trainer._perturbed(0, drawn, 1, 0)
        assert batch.before is drawn.before
        assert torch.equal(drawn.before, drawn.images) == (jitter == 0)
        assert len(batch.perturbed) == len(drawn.images)

    def test_have_no_clean_rows(self, build):
        batch, _ = build(1)._perturbed(0, drawn_of(build(1)), 1, 0)
        outputs = Outputs(torch.zeros(8, 2), torch.zeros(8, 2), batch.labels, batch)
        assert (outputs.clean.tolist(), outputs.perturbed.tolist()) == ([], [*range(8)])
        with pytest.raises(ValueError, match="no clean rows; say needs_clean = True"):
            _ = outputs.origins


@pytest.mark.parametrize(
    ("defense", "problem"),
    [
        (DEFENSES["trades"], "Trades needs clean images in every batch; leave --only-perturbed out"),
        (DEFENSES["none"], "perturbs nothing; leave --only-perturbed out"),
        (OfAUser, "OfAUser needs clean images in every batch"),
    ],
)
def test_are_refused_where_they_cannot_be(build, defense, problem):
    with pytest.raises(UsageError, match=problem):
        build(1, defense())
