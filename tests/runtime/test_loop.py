"""The frame of a run: every epoch once, what it found is logged and saved, and a killed run goes on after that."""

import json

import pytest
import torch

from reid.errors import CheckpointError
from reid.runtime.loop import run_epochs
from reid.runtime.snapshot import Run


class Recorder:
    """A run that counts what it did; `die_in` is the epoch in which it is killed."""

    def __init__(self, folder, resume_from=None, die_in=None):
        self.run, self.die_in = Run(folder, resume_from, {"lr": "0.1"}), die_in
        self.value, self.called, self.restored = 0, [], []

    def go(self, epochs):
        run_epochs(self.run, epochs, restore=self.restore, epoch=self.epoch, state=self.state)
        return self

    def restore(self, state):
        self.restored.append(state["epoch"])
        self.value = state["value"]

    def epoch(self, number, log):
        self.called.append(number)
        self.value += 10**number
        log.images("nothing", torch.zeros(1, 3, 2, 2), number)
        if number == self.die_in:
            raise KeyboardInterrupt
        return {"loss": self.value}

    def state(self):
        return {"value": self.value}


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_epoch_is_called_once_and_logged_in_one_line(tmp_path):
    recorder = Recorder(tmp_path).go(3)
    assert recorder.called == [0, 1, 2]
    assert recorder.restored == []
    assert [(line["epoch"], line["loss"]) for line in metrics(tmp_path)] == [(0, 1), (1, 11), (2, 111)]
    assert all(line["seconds"] >= 0 for line in metrics(tmp_path))


def test_the_state_after_the_last_epoch_is_saved(tmp_path):
    Recorder(tmp_path).go(3)
    assert Run(tmp_path, "auto", {"lr": "0.1"}).load() == {"epoch": 3, "settings": {"lr": "0.1"}, "value": 111}


@pytest.mark.parametrize("die_in", [0, 1, 2])
def test_a_killed_run_goes_on_after_the_last_epoch_that_it_saved(tmp_path, die_in):
    killed = Recorder(tmp_path, "auto", die_in)
    with pytest.raises(KeyboardInterrupt):
        killed.go(3)
    assert killed.called == list(range(die_in + 1))

    again = Recorder(tmp_path, "auto").go(3)
    assert again.called == list(range(die_in, 3))
    assert again.restored == ([die_in] if die_in else [])
    assert again.value == 111
    assert [(line["epoch"], line["loss"]) for line in metrics(tmp_path)] == [(0, 1), (1, 11), (2, 111)]


def test_a_finished_run_does_nothing_more(tmp_path):
    Recorder(tmp_path).go(2)
    again = Recorder(tmp_path, "auto").go(2)
    assert (again.called, again.restored, again.value) == ([], [2], 11)
    assert len(metrics(tmp_path)) == 2


def test_goes_on_in_another_folder(tmp_path):
    Recorder(tmp_path / "there").go(2)
    again = Recorder(tmp_path / "here", str(tmp_path / "there")).go(3)
    assert (again.called, again.value) == ([2], 111)
    assert Run(tmp_path / "here", "auto", {}).load()["value"] == 111
    assert Run(tmp_path / "there", "auto", {}).load()["value"] == 11


def test_a_state_that_lacks_something_is_refused_by_name(tmp_path):
    run = Run(tmp_path, "auto", {})
    run.save(1, model={})
    with pytest.raises(CheckpointError, match=r"state\.pth lacks 'network'"):
        run_epochs(run, 2, restore=lambda state: state["network"], epoch=lambda *_: {}, state=dict)


def test_a_state_that_does_not_fit_is_one_line(tmp_path):
    def misfit(state):
        raise RuntimeError("Error(s) in loading:\n\tsize mismatch for head")

    run = Run(tmp_path, "auto", {})
    run.save(1, model={})
    with pytest.raises(CheckpointError, match=r"size mismatch for head.*the data have changed") as caught:
        run_epochs(run, 2, restore=misfit, epoch=lambda *_: {}, state=dict)
    assert "\n" not in str(caught.value)
