"""Defences: what each needs, what its loss is of, and what a defence of one's own can reach."""

import argparse
import copy
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from small_sets import half_perturbed

from reid import UsageError
from reid.attacks import Threat, controls
from reid.defenses import DEFENSES, Defense
from reid.loading import Images
from reid.runtime import cli, options
from reid.runtime.device import Compute
from reid.training import ReidLoss, Schedule, Trainer, TrainingSet
from reid.training.adversaries.universal import Pool
from reid.training.batches import TrainingBatch
from reid.training.network import TrainedNetwork
from reid.training.view import View

CPU = Compute(torch.device("cpu"), "fp32")
NEEDS = {"none": (False, False), "adversarial": (False, True), "mixed": (True, True), "meta": (True, True)}
OPTIONS = {"meta": ["inner_order", "inner_lr"]}
OPTIONS |= {"gallery": [*OPTIONS["meta"], "look_ahead"]}
OPTIONS |= {"fare": [*OPTIONS["gallery"], "anchor"], "trades": [*OPTIONS["gallery"], "divergence"]}
OPTIONS |= {"anchored": OPTIONS["fare"]}


@pytest.fixture
def batch():
    """4 people x 2 images, every second one once more under noise."""
    return half_perturbed(0.02)


@pytest.fixture
def view(tiny):
    tiny.dropout.p = 0.0
    network = TrainedNetwork(tiny)
    return View(network, network.weights(), CPU, ReidLoss(), copy.deepcopy(tiny).eval())


@pytest.mark.parametrize("name", NEEDS)
def test_what_each_needs(name):
    defense = DEFENSES[name]()
    assert (defense.needs_virtual, defense.needs_adversary) == NEEDS[name]
    assert defense.needs_labels
    assert not defense.needs_start


@pytest.mark.parametrize("name", NEEDS)
def test_all_take_the_reid_loss_of_all_rows(name, view, batch):
    features, logits = view.network(batch.images)
    expected = ReidLoss()(features, logits, batch.labels)
    for got, value in zip(DEFENSES[name]().loss(view, batch), expected, strict=True):
        torch.testing.assert_close(got, value)


def test_meta_alone_looks_ahead():
    assert [DEFENSES[name]().inner_order for name in NEEDS] == [None, None, None, "first"]
    meta = DEFENSES["meta"](inner_order="second", inner_lr=0.01)
    assert (meta.inner_order, meta.inner_lr) == ("second", 0.01)


def test_they_are_listed_with_their_options_without_torch():
    code = (
        "import sys\nfrom reid.defenses import DEFENSES\nfrom reid.runtime.options import declared\n"
        "print([list(declared(DEFENSES[name])) for name in DEFENSES], 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"{[OPTIONS.get(name, []) for name in DEFENSES]} False"


def test_options_of_the_command_line_make_a_defence():
    parser = cli.OneLineParser("", [])
    options.add_options(parser, DEFENSES["meta"])
    args = parser.parse_args(["--inner-order", "second", "--inner-lr", "0.02"])
    assert options.build(DEFENSES["meta"], vars(args)) == DEFENSES["meta"]("second", 0.02)


class TestView:
    def test_says_which_rows_are_clean(self, view, batch):
        assert view.outputs(batch).clean.tolist() == list(range(8))

    def test_says_which_rows_are_perturbed_and_from_which_they_were_made(self, view, batch):
        outputs = view.outputs(batch)
        assert outputs.perturbed.tolist() == [8, 9, 10, 11]
        assert outputs.origins.tolist() == [0, 2, 4, 6]
        rows = batch.images.flatten(1)
        assert (rows[outputs.perturbed] - rows[outputs.origins]).abs().max() < 0.2
        assert torch.equal(outputs.labels[outputs.perturbed], outputs.labels[outputs.origins])

    def test_of_a_clean_batch_has_no_perturbed_rows(self, view, batch):
        outputs = view.outputs(TrainingBatch(batch.clean, None, batch.labels[:8], batch.clean))
        assert len(outputs.perturbed) == len(outputs.origins) == 0

    def test_gives_the_features_of_the_start_in_eval_mode_without_a_gradient(self, view, batch):
        with torch.no_grad():
            expected = view.start.features(batch.images)
        got = view.start_features(batch)
        assert not got.requires_grad
        assert torch.equal(got, expected)
        assert not torch.allclose(got, view.outputs(batch).features, rtol=0.01)  # which are of the batch's statistics

    def test_says_that_the_start_is_not_kept(self, view, batch):
        with pytest.raises(ValueError, match="needs_start"):
            View(view.network, view.weights, CPU, ReidLoss()).start_features(batch)


@dataclass(frozen=True)
class Anchored(Defense):
    """Label-free: perturbed features stay where the model had them before training."""

    needs_adversary, needs_labels, needs_start = True, False, True

    def loss(self, network, batch):
        outputs, start = network.outputs(batch), network.start_features(batch)
        return (outputs.features[outputs.perturbed] - start[outputs.origins]).square().mean(), None


class TestOwnDefence:
    @pytest.fixture
    def build(self, tiny, people):
        def trainer(defense, adversary=None):
            images = Images(32, 16, workers=1)
            data = TrainingSet("real", people["real"], images, batch_size=8, num_instances=1, seed=0, labelled=False)
            return Trainer(tiny, defense, [data], Schedule(1, 2, lr=1e-3), ReidLoss(), CPU, 0, adversary)

        return trainer

    def test_without_labels_trains_on_any_images_towards_the_model_it_started_from(self, build, tiny, tmp_path):
        """With labels, a batch of 8 x 1 images would need 8 people, and there are 5."""
        from reid.runtime.snapshot import Run
        from reid.training import Selection

        before = {name: value.clone() for name, value in tiny.state_dict().items()}
        trainer = build(Anchored(), Pool([controls.random_both(Threat(8 / 255, 8 / 255), 0, 32, 16)]))
        trainer.train(Run(tmp_path, None, {}), Selection(None))
        assert all(torch.equal(value, before[name]) for name, value in trainer.start.state_dict().items())
        assert not torch.equal(tiny.base.conv1.weight, before["base.conv1.weight"])
        assert torch.equal(tiny.get_submodule(tiny.head_name).weight, before[f"{tiny.head_name}.weight"])
        assert "precision" not in (tmp_path / "metrics.jsonl").read_text()

    def test_what_it_needs_is_asked_for(self, build):
        with pytest.raises(UsageError, match="Anchored trains on perturbed images"):
            build(Anchored())
        with pytest.raises(UsageError, match="Mixed trains on a virtual set too"):
            build(DEFENSES["mixed"]())
        with pytest.raises(UsageError, match="Fare looks ahead from the source to a virtual set"):
            build(DEFENSES["fare"](look_ahead=True), Pool([]))


def test_an_option_with_a_spelling_of_its_own_arrives():
    @dataclass(frozen=True)
    class Owner:
        weight: int = options.option(1, "weight", type=int, spelling="--owner-weight")

    parser = argparse.ArgumentParser()
    options.add_options(parser, Owner)
    assert options.build(Owner, vars(parser.parse_args(["--owner-weight", "3"]))) == Owner(3)
