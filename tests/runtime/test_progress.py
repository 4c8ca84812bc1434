"""The line of nested work: its words, its fraction, the time left, and that it leaves the terminal as it was."""

import contextlib
import io
import logging
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest

from reid.errors import UsageError
from reid.runtime import cli, job, progress, terminal
from reid.runtime.progress import stage


class Terminal(io.StringIO):
    """A terminal: `screen` has its lines, and `last` what stood in the last one after each write, in turn."""

    def __init__(self):
        super().__init__()
        self.screen, self.last, self._column = [""], [""], 0

    def isatty(self):
        return True

    def write(self, text):
        for letter in text:
            line = self.screen[-1]
            if letter == "\r":
                self._column = 0
            elif letter == "\n":
                self.screen.append("")
                self._column = 0
            else:
                self.screen[-1] = line[: self._column] + letter + line[self._column + 1 :]
                self._column += 1
        if (shown := self.screen[-1].rstrip()) != self.last[-1]:
            self.last.append(shown)
        return len(text)


@pytest.fixture
def screen(monkeypatch):
    """The terminal of a test. As stderr itself it would not outlast the fixture: pytest sets its own for each phase."""
    shown = Terminal()
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stderr=shown))
    yield shown
    progress.close()


@pytest.fixture
def now(monkeypatch):
    """A list with the time, which a test moves on."""
    time = [100.0]
    monkeypatch.setattr(progress, "clock", lambda: time[0])
    return time


def loop(total, words="", now=None, **options):
    """`progress` over `total` items (two where it is to be unknown), each of which takes a second of the clock."""
    for item in progress.progress(range(2 if total is None else total), total, words, **options):
        yield item
        if now:
            now[0] += 1


def percents(screen):
    return [int(line.partition(" %")[0]) for line in screen.last if line]


def test_an_inner_step_moves_the_whole(screen, now):
    for _ in loop(2, "attack", names=["cosine", "square"]):
        for _ in loop(2, "batch"):
            list(loop(3, "step", now))
    assert screen.last[1:-1] == [
        "0 % · attack 1/2 cosine",
        "8 % · 11 s left · attack 1/2 cosine · batch 1/2 · step 2/3",
        "16 % · 10 s left · attack 1/2 cosine · batch 1/2 · step 3/3",
        "25 % · 9 s left · attack 1/2 cosine · batch 1/2 · step 3/3",
        "33 % · 8 s left · attack 1/2 cosine · batch 2/2 · step 2/3",
        "41 % · 7 s left · attack 1/2 cosine · batch 2/2 · step 3/3",
        "50 % · 6 s left · attack 1/2 cosine · batch 2/2 · step 3/3",
        "58 % · 5 s left · attack 2/2 square · batch 1/2 · step 2/3",
        "66 % · 4 s left · attack 2/2 square · batch 1/2 · step 3/3",
        "75 % · 3 s left · attack 2/2 square · batch 1/2 · step 3/3",
        "83 % · 2 s left · attack 2/2 square · batch 2/2 · step 2/3",
        "91 % · 1 s left · attack 2/2 square · batch 2/2 · step 3/3",
        "100 % · 1 s left · attack 2/2 square · batch 2/2 · step 3/3",
    ]
    assert screen.last[-1] == ""


def test_items_count_by_their_sizes(screen, now):
    work = progress.progress(range(3), 3, "attack", sizes=[10, 30, 60])
    for seconds in work:
        now[0] += (1, 3, 6)[seconds]
    assert [line.partition(" · attack")[0] for line in screen.last[1:-1]] == [
        "0 %",
        "10 % · 9 s left",
        "40 % · 6 s left",
        "100 % · 1 s left",
    ]


def test_the_position_is_said_in_words_without_a_terminal_too(now):
    jobs, said = progress.progress([5, 55, 10_000, 1], 4, "attack", sizes=[10, 30, 60, 0.1]), []
    for seconds in jobs:
        said.append(jobs.position())
        now[0] += seconds
    assert said == ["1 of 4", "2 of 4, about 45 s left", "3 of 4, about 2 min left", "4 of 4, about 17 s left"]


def test_durations_are_told_in_minutes_and_hours():
    assert [progress.told(seconds) for seconds in (0, 89, 91, 5399, 5940)] == [
        "1 s",
        "89 s",
        "2 min",
        "90 min",
        "1.6 h",
    ]


def test_sizes_that_say_nothing_are_alike(screen, now):
    list(loop(2, "job", now, sizes=[0, 0]))
    assert percents(screen) == [0, 50, 100]


def test_what_was_done_before_is_done_but_says_nothing_of_the_speed(screen, now):
    for _ in progress.progress(range(3, 5), 5, "epoch", done=3):
        now[0] += 10
    assert screen.last[1:3] == ["60 % · epoch 4/5", "80 % · 10 s left · epoch 5/5"]


def test_the_last_items_say_most_about_the_speed(screen, now):
    """As where results of before are reused: they take no time, which says nothing of the others."""
    for number in progress.progress(range(100), 100, "row"):
        now[0] += 0.3 if number < 10 else 2
        if number == 30:
            break
    assert screen.last[11] == "10 % · 27 s left · row 11/100"
    assert screen.last[-2] == "30 % · 2 min left · row 31/100"


def test_the_first_loop_is_all_the_work_on_an_item_unless_stages_say_otherwise(screen, now):
    for _ in loop(2):
        list(loop(2, "first", now))
        list(loop(2, "second", now))
    assert percents(screen) == [0, 25, 50, 50, 50, 75, 100, 100]
    screen.last[:] = [""]
    with stage():
        with stage(0.2):
            list(loop(2, "first", now))
        list(loop(2, "second", now))
    assert [line.split(" ")[0] for line in screen.last[1:-1]] == ["0", "10", "20", "60", "100"]


def test_an_unknown_number_has_no_percentage(screen, now):
    list(loop(None, "image", now))
    assert screen.last[1:-1] == ["image 1", "image 2", "image 3"]
    screen.last[:] = [""]
    for _ in loop(2, "file"):
        list(loop(None, "image", now))
    assert percents(screen) == [0, 0, 0, 50, 50]


def test_a_note_is_shown_where_it_was_left(screen, now):
    steps = progress.progress(range(2), 2, "step")
    for loss in steps:
        steps.note = f"loss {loss}"
        now[0] += 1
    assert screen.last[2] == "50 % · 1 s left · step 2/2 loss 0"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_nested_never_goes_back_and_ends(seed, screen, now):
    """Loops and stages at random, some left early, by break or by an error, some abandoned without being closed."""
    draw, abandoned = random.Random(seed), []

    def work(depth):
        now[0] += draw.random()
        for _ in range(draw.randrange(3) if depth < 4 else 0):
            with contextlib.suppress(ArithmeticError), stage(draw.choice([0.3, 1.0])):
                for _ in loop(draw.choice([0, 1, 3, None]), "loop", now, sizes=draw.choice([None, [1, 2, 5]])):
                    work(depth + 1)
                    if draw.random() < 0.1:
                        break
                    if draw.random() < 0.1:
                        raise ArithmeticError
            if draw.random() < 0.2:
                abandoned.append(iter(progress.progress(range(3), 3, "abandoned")))
                next(abandoned[-1])

    for _ in loop(4, "whole", now):
        work(0)
    found = percents(screen)
    assert found == sorted(found)
    assert found[-1] == 100
    assert (screen.last[-1], progress._open) == ("", [])


def test_a_loop_of_another_thread_is_work_on_the_item_that_waits_for_it(screen, now):
    def decode():
        list(loop(4, "decoding image", now))

    for item in loop(2, "batch"):
        if item == 0:
            thread = threading.Thread(target=decode)
            thread.start()
            thread.join()
        now[0] += 1
    assert screen.last[2] == "12 % · 7 s left · batch 1/2 · decoding image 2/4"
    assert percents(screen) == sorted(percents(screen))


def test_threads_at_the_same_time_leave_nothing_behind(screen, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    errors = []

    def work():
        try:
            for _ in range(3):
                for _ in loop(3, "outer"):
                    list(loop(5, "inner"))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for _ in loop(1, "whole"):
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
    assert (errors, progress._open, screen.last[-1]) == ([], [], "")
    assert all(re.match(r"\d+ % · ", line) for line in screen.last[1:-1])
    assert len(screen.screen) == 1


@pytest.mark.parametrize("terminal_and_rank", [(False, 0), (True, 1)])
def test_nothing_is_shown_without_a_terminal_nor_on_other_ranks(terminal_and_rank, screen, now, monkeypatch):
    there, rank = terminal_and_rank
    monkeypatch.setattr(screen, "isatty", lambda: there)
    monkeypatch.setattr(job._Job, "rank", rank)
    with stage():
        assert list(loop(3, "step", now)) == [0, 1, 2]
    assert screen.last == [""]


def test_log_lines_stand_above(screen, now):
    log = logging.Logger("test")
    log.addHandler(terminal.Handler(screen))
    log.info("before")
    for number in loop(2, "epoch", now):
        log.info("x" if number else "a line that is longer than the one that is replaced again and again")
    log.info("after")
    assert screen.screen[0] == "before"
    assert [line.rstrip() for line in screen.screen[1:]] == [
        "a line that is longer than the one that is replaced again and again",
        "x",
        "after",
        "",
    ]
    assert screen.last.count("50 % · 1 s left · epoch 2/2") == 2


def test_a_line_is_cut_to_the_terminal_and_of_printable_letters(screen, now):
    list(loop(1, "converting", names=["行" * 60]))
    list(loop(1, "reading", names=["a\r\x1b[2J\nb" * 9]))
    assert screen.last[1] == "0 % · converting 1/1 " + "行" * 29
    assert screen.last[2 if screen.last[2] else 3].startswith("0 % · reading 1/1 a\\r\\x1b[2J\\nb")
    assert max(map(len, screen.last)) <= 79
    assert len(screen.screen) == 1


def test_a_terminal_that_is_gone_ends_no_work(screen, now, monkeypatch):
    def gone(text):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(screen, "write", gone)
    assert list(loop(3, "step", now)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "left", "words"),
    [
        (UsageError("wrong"), SystemExit, "error: wrong"),
        (KeyboardInterrupt(), SystemExit, "interrupted; "),
        (ZeroDivisionError(), ZeroDivisionError, ""),
    ],
)
def test_a_command_that_fails_leaves_a_clean_line(error, left, words, screen, monkeypatch):
    """Also where the loop is held by a generator that nobody closes while the error is looked at."""
    monkeypatch.setattr(job, "sys", terminal.sys)

    def main(argv):
        rows = loop(3, "row")
        for _ in rows:
            raise error

    with pytest.raises(left):
        cli.run(main, [])
    assert screen.last[1] == "0 % · row 1/3"
    assert "".join(screen.screen).rstrip().startswith(words)
    assert "row" not in "".join(screen.screen)


def test_a_loop_costs_next_to_nothing(screen):
    """On a terminal, too; an hour of steps of a millisecond has 3,600,000."""
    began = time.perf_counter()
    deque(progress.progress(range(100_000), 100_000, "step"), maxlen=0)
    assert time.perf_counter() - began < 2


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_command_on_a_terminal_has_one_line_and_takes_it_away(tmp_path):
    import pty

    reading, writing = pty.openpty()
    options = ["--root", str(tmp_path), "--ids", "20", "--test-ids", "1", "--workers", "1"]
    command = [sys.executable, "-m", "reid.synthperson", "synth-a", *options]
    process = subprocess.Popen(command, stderr=writing, cwd=Path(__file__).parents[2])
    os.close(writing)
    shown = Terminal()
    with contextlib.suppress(OSError):  # by which Linux says that nobody writes any more
        while piece := os.read(reading, 65536):
            shown.write(piece.decode())
    os.close(reading)
    assert process.wait() == 0
    assert [line.rstrip() for line in shown.screen] == [f"drawn into {tmp_path / 'synth-a' / 'raw'}", ""]
    assert any(re.fullmatch(r"\d+ % · \d+ s left · drawing synth-a, image \d+/254", line) for line in shown.last)
