"""The best model so far: which one is kept, in what file, and what a killed run finds again."""

import logging

import pytest
import torch

from reid import models
from reid.runtime.snapshot import Run
from reid.training import BEST_FILE
from reid.training.keeper import Keeper

METADATA = {"trained_on": "synth-a", "height": 32, "width": 16, "settings": {"lr": "0.1", "noise_path1": ["a", "b"]}}


@pytest.fixture
def keeper(tmp_path):
    return Keeper(Run(tmp_path, None, {}), METADATA)


def offer(keeper, model, scores, first_epoch=1):
    """Offer a model that carries the number of its epoch in its head."""
    for epoch, score in enumerate(scores, first_epoch):
        with torch.no_grad():
            model.classifier_x2.bias.fill_(epoch)
        keeper.offer(model, epoch, score)


def kept(folder):
    return int(models.read_checkpoint(folder / BEST_FILE)["classifier_x2.bias"][0])


class TestKept:
    @pytest.mark.parametrize(
        ("scores", "best"), [([0.2, 0.5, 0.4], 2), ([0.5, 0.5, 0.4], 2), ([0.0], 1), ([0.5, float("nan")], 1)]
    )
    def test_is_the_highest_score_the_latest_of_equals(self, keeper, tiny, tmp_path, scores, best):
        offer(keeper, tiny, scores)
        assert kept(tmp_path) == best
        assert keeper.best == max(scores[:best])

    def test_is_nothing_before_the_first_offer(self, keeper):
        assert not keeper.path.exists()


class TestFile:
    def test_is_the_released_envelope(self, keeper, tiny, tmp_path):
        offer(keeper, tiny, [0.25, 0.5])
        content = torch.load(tmp_path / BEST_FILE, weights_only=True)
        assert content.keys() == {"state_dict", "epoch", "best_top1", "arch", "num_classes", *METADATA}
        assert (content["epoch"], content["best_top1"]) == (2, 0.5)
        assert content["settings"] == METADATA["settings"]

    def test_gives_the_model_back(self, keeper, small, tmp_path):
        offer(keeper, small, [0.5])
        model, report = models.load_model(tmp_path / BEST_FILE)
        assert report.loaded == list(small.state_dict())
        assert all(torch.equal(value, model.state_dict()[key]) for key, value in small.state_dict().items())

    def test_of_a_res_meta_loads_as_one(self, keeper, tmp_path):
        res_meta = models.create("resMeta", 3, seed=0)
        keeper.offer(res_meta, 85, 0.7)
        model, report = models.load_model(tmp_path / BEST_FILE)
        assert (model.arch, model.num_classes) == ("resMeta", 3)
        assert (report.missing, report.unexpected, report.mismatched) == ([], [], [])
        assert torch.equal(model.classifier.weight, res_meta.classifier.weight)


class TestRestore:
    def resumed(self, folder, source):
        return Keeper(Run(folder, str(source), {}), METADATA)

    def test_in_the_same_folder_the_old_best_must_be_beaten(self, keeper, tiny, tmp_path):
        offer(keeper, tiny, [0.2, 0.5])
        Run(tmp_path, None, {}).save(2)
        again = self.resumed(tmp_path, "auto")
        again.restore(0.5)
        offer(again, tiny, [0.4], first_epoch=3)
        assert kept(tmp_path) == 2
        offer(again, tiny, [0.5], first_epoch=4)
        assert kept(tmp_path) == 4

    @pytest.mark.parametrize("given", ["the folder", "the state file"])
    def test_from_another_folder_the_file_comes_along(self, tiny, tmp_path, given):
        there, here = tmp_path / "there", tmp_path / "here"
        offer(Keeper(Run(there, None, {}), METADATA), tiny, [0.2, 0.5])
        Run(there, None, {}).save(2)
        before = (there / BEST_FILE).read_bytes()

        moved = self.resumed(here, there if given == "the folder" else there / "state.pth")
        moved.restore(0.5)
        assert (here / BEST_FILE).read_bytes() == before
        offer(moved, tiny, [0.4], first_epoch=3)
        assert kept(here) == 2
        offer(moved, tiny, [0.6], first_epoch=4)
        assert kept(here) == 4
        assert (there / BEST_FILE).read_bytes() == before

    def test_where_it_is_gone_the_best_to_come_is_kept_with_a_warning(self, tiny, tmp_path, caplog):
        Run(tmp_path, None, {}).save(2)
        again = self.resumed(tmp_path, "auto")
        with caplog.at_level(logging.WARNING):
            again.restore(0.9)
        assert str(tmp_path / BEST_FILE) in caplog.text
        offer(again, tiny, [0.3, 0.1], first_epoch=3)
        assert kept(tmp_path) == 3
