"""Resume states: what is found, what is refused, what a failed write leaves."""

import pytest
import torch

from reid.errors import CheckpointError, UsageError
from reid.files import write_atomically
from reid.training import snapshot

SETTINGS = {"lr": "0.1", "epochs": "3"}


def test_a_saved_state_comes_back(tmp_path):
    snapshot.save(tmp_path, 2, SETTINGS, weights={"w": torch.ones(2)})
    for where in ("auto", str(tmp_path), str(tmp_path / snapshot.STATE_FILE)):
        state = snapshot.load(where, tmp_path, SETTINGS)
        assert state["epoch"] == 2
        assert torch.equal(state["weights"]["w"], torch.ones(2))


def test_a_fresh_start_reads_nothing(tmp_path):
    assert snapshot.load("auto", tmp_path / "not yet there", SETTINGS) is None
    snapshot.save(tmp_path, 2, SETTINGS)
    assert snapshot.load(None, tmp_path, SETTINGS) is None


def test_other_settings_are_named_and_refused(tmp_path):
    snapshot.save(tmp_path, 2, SETTINGS)
    with pytest.raises(UsageError, match=r"lr: 0\.1 there, 0\.2 now"):
        snapshot.load("auto", tmp_path, SETTINGS | {"lr": "0.2"})


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        snapshot.load(str(tmp_path / "nothing.pth"), tmp_path, SETTINGS)
    torch.save({"w": torch.ones(1)}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="not the state of a run"):
        snapshot.load(str(tmp_path / "model.pth"), tmp_path, SETTINGS)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_atomically(tmp_path / "file", lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
