"""Files that are written whole, also where two processes write the same one at the same time."""

import multiprocessing
import os
import time

import pytest

from reid.runtime.files import ABANDONED, temporary_sibling, write_atomically


def write_slowly(path, half_written, go_on):
    with temporary_sibling(path) as temporary:
        temporary.write_text("slow")
        half_written.set()
        assert go_on.wait(30)


def test_two_processes_that_write_the_same_file_both_succeed(tmp_path):
    path = tmp_path / "result.json"
    processes = multiprocessing.get_context("fork")
    half_written, go_on = processes.Event(), processes.Event()
    slow = processes.Process(target=write_slowly, args=(path, half_written, go_on))
    slow.start()
    assert half_written.wait(30)
    write_atomically(path, lambda temporary: temporary.write_text("fast"))
    assert path.read_text() == "fast"
    go_on.set()
    slow.join(30)
    assert slow.exitcode == 0
    assert path.read_text() == "slow"
    assert os.listdir(tmp_path) == ["result.json"]


def test_what_a_killed_process_left_goes_away_once_nobody_can_be_writing_it(tmp_path):
    path, part = tmp_path / "[a]*.pth", tmp_path / ".[a]*.pth.12345678.part"
    other = tmp_path / ".b.pth.12345678.part"
    for file in (part, other):
        file.write_text("half")
    write_atomically(path, lambda temporary: temporary.write_text("whole"))
    assert part.exists()
    for file in (part, other):
        os.utime(file, (time.time() - ABANDONED - 1,) * 2)
    write_atomically(path, lambda temporary: temporary.write_text("whole"))
    assert not part.exists()
    assert other.exists()


def test_an_error_leaves_the_old_file_and_names_it(tmp_path):
    path = tmp_path / "state.pth"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as raised:
        write_atomically(path, fail)
    assert raised.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["state.pth"]
