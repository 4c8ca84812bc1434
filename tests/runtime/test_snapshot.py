"""Resume states: what is found, what is refused, what a failed write leaves."""

import resource

import pytest
import torch

from reid.errors import CheckpointError, UsageError
from reid.runtime.files import write_atomically
from reid.runtime.snapshot import STATE_FILE, Run
from reid.runtime.torchfiles import write_torch

SETTINGS = {"lr": "0.1", "epochs": "3"}


def test_a_saved_state_comes_back(tmp_path):
    Run(tmp_path, None, SETTINGS).save(2, weights={"w": torch.ones(2)})
    for where in ("auto", str(tmp_path), str(tmp_path / STATE_FILE)):
        state = Run(tmp_path, where, SETTINGS).load()
        assert state["epoch"] == 2
        assert torch.equal(state["weights"]["w"], torch.ones(2))


def test_a_fresh_start_reads_nothing(tmp_path):
    assert Run(tmp_path / "not yet there", "auto", SETTINGS).load() is None
    assert Run(tmp_path / "not yet there", None, SETTINGS).load() is None


def test_a_fresh_start_over_another_run_is_refused(tmp_path):
    Run(tmp_path, None, SETTINGS).save(2)
    with pytest.raises(UsageError, match="holds a run already"):
        Run(tmp_path, None, SETTINGS).load()


def test_going_on_from_elsewhere_over_another_run_is_refused(tmp_path):
    for name in ("one", "other"):
        Run(tmp_path / name, None, SETTINGS).save(2)
    with pytest.raises(UsageError, match="holds a run already"):
        Run(tmp_path / "one", str(tmp_path / "other"), SETTINGS).load()


def test_other_settings_are_named_and_refused(tmp_path):
    Run(tmp_path, None, SETTINGS).save(2)
    with pytest.raises(UsageError, match=r"lr: 0\.1 there, 0\.2 now"):
        Run(tmp_path, "auto", SETTINGS | {"lr": "0.2"}).load()


@pytest.mark.parametrize("content", [{"w": torch.ones(1)}, {"epoch": 1, "settings": "all"}, [1, 2]])
def test_a_missing_or_foreign_file_is_refused(content, tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        Run(tmp_path, str(tmp_path / "nothing.pth"), SETTINGS).load()
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="not the state of a run"):
        Run(tmp_path, str(tmp_path / "model.pth"), SETTINGS).load()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_atomically(tmp_path / "file", lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_torch(path, {"weights": torch.zeros(100)}),
        lambda path: write_torch(path, {"weights": torch.zeros(10**6)}),
        lambda path: write_atomically(path, lambda temporary: temporary.write_text("1" * 10**6)),
    ],
)
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_the_old_one(tmp_path, write):
    path = tmp_path / "state.pth"
    write_torch(path, {"epoch": 1})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"/state\.pth'$"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
