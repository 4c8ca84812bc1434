"""Ctrl-C, SIGTERM and readers that go away, at any moment: one line or none, a code that says so, nothing left over."""

import ast
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reid.runtime import cli, interrupts
from reid.runtime.torchfiles import read_torch, write_torch

ROOT = Path(__file__).parents[2]
LINE = "interrupted; a run that knows --resume-from goes on with --resume-from auto\n"
SCRIPTS = [path for path in (*ROOT.glob("*.py"), *ROOT.glob("studies/*.py")) if "cli.run(main)" in path.read_text()]


@pytest.fixture(autouse=True)
def handlers():
    """Each test starts from Python's own, however the tests were started, and leaves them as they are."""
    own = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield
    assert {number: signal.signal(number, before[number]) for number in own} == own


def left_with(main, capsys):
    with pytest.raises(SystemExit) as left:
        cli.run(main, [])
    return left.value.code, capsys.readouterr().err


class TestWork:
    """Under `cli.run`."""

    @pytest.mark.parametrize(
        ("number", "words", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "told to stop", 143)]
    )
    def test_ends_with_one_line(self, number, words, code, capsys):
        cleared = []

        def main(argv):
            try:
                signal.raise_signal(number)
            finally:
                cleared.append(signal.getsignal(number))

        assert left_with(main, capsys) == (code, LINE.replace("interrupted", words))
        assert cleared == [signal.SIG_DFL], "once more, and the process ends as any other"

    def test_whose_interrupt_became_another_error_ends_alike(self, capsys):
        def main(argv):
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as error:
                raise ImportError("initialisation failed") from error

        assert left_with(main, capsys) == (130, LINE)

    def test_goes_on_where_signals_are_ignored_as_in_the_background(self, capsys):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert left_with(lambda argv: signal.raise_signal(signal.SIGINT), capsys) == (0, "")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_that_was_not_interrupted_knows_nothing_of_the_last_one(self, capsys):
        left_with(lambda argv: signal.raise_signal(signal.SIGINT), capsys)
        with pytest.raises(ImportError):
            cli.run(lambda argv: __import__("reid.none"), [])


class Interrupting:
    """Something that is interrupted while it is written."""

    def __reduce__(self):
        signal.raise_signal(signal.SIGINT)
        return int, (1,)


def test_a_save_is_held_to_its_end_and_then_left_out(tmp_path):
    path = write_torch(tmp_path / "state.pth", {"epoch": 1})
    with interrupts.answered(), pytest.raises(KeyboardInterrupt):
        write_torch(path, [Interrupting(), list(range(1000))])
    assert read_torch(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["state.pth"]


def test_what_is_held_is_done_before_the_interrupt_even_where_it_fails():
    done = []

    @interrupts.held()
    def work(error=None):
        signal.raise_signal(signal.SIGINT)
        done.append(1)
        if error is not None:
            raise error

    with pytest.raises(KeyboardInterrupt):
        work()
    with pytest.raises(KeyboardInterrupt) as caught:
        work(OSError("disk full"))
    assert done == [1, 1]
    assert isinstance(caught.value.__context__, OSError)


def test_other_threads_hold_nothing_and_write_all_the_same(tmp_path):
    thread = threading.Thread(target=write_torch, args=(tmp_path / "state.pth", {"epoch": 1}))
    thread.start()
    thread.join()
    assert read_torch(tmp_path / "state.pth") == {"epoch": 1}


class TestImports:
    """Interrupted by a package that they import."""

    @pytest.fixture
    def interrupted(self, tmp_path):
        def start(*command):
            text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)\n"
            (tmp_path / "PIL.py").write_text(text)
            environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
            return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)

        return start

    @pytest.mark.parametrize("command", [["trainReid.py"], ["-m", "reid.datasets"], ["-m", "studies.curve"]])
    def test_of_commands_end_with_one_line(self, command, interrupted):
        command = [str(ROOT / word) if word.endswith(".py") else word for word in command]
        done = interrupted(*command, "--help")
        assert (done.returncode, done.stderr, done.stdout) == (130, LINE, "")

    def test_of_other_programs_are_their_own_affair(self, interrupted, tmp_path):
        (tmp_path / "own.py").write_text("try:\n    import reid, PIL\nexcept KeyboardInterrupt:\n    print('mine')")
        assert interrupted(str(tmp_path / "own.py")).stdout == "mine\n"
        assert (
            interrupted("-c", "try:\n import reid, PIL\nexcept KeyboardInterrupt:\n print('mine')").stdout == "mine\n"
        )

    def test_come_second_in_every_script(self):
        for path in SCRIPTS:
            imports = [
                node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            names = [ast.unparse(node) for node in imports if "__future__" not in ast.unparse(node)]
            assert names[0] == "import reid", path
        assert len(SCRIPTS) >= 8


class TestReaders:
    """Of what a command prints."""

    @pytest.mark.parametrize("command", [["-m", "reid"], [str(ROOT / "trainReid.py"), "--help"]])
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @pytest.mark.parametrize("both", [False, True])
    def test_that_go_away_end_it_quietly(self, command, unbuffered, both):
        reading, writing = os.pipe()
        os.close(reading)
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        stderr = writing if both else subprocess.PIPE
        done = subprocess.run([sys.executable, *command], stdout=writing, stderr=stderr, cwd=ROOT, env=environment)
        os.close(writing)
        assert done.returncode == (0 if unbuffered and "--help" in command else 141)  # argparse does not mind
        assert not done.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full")
    def test_without_room_are_named_once(self):
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}
        with open("/dev/full", "w") as full:
            streams = {"stdout": full, "stderr": subprocess.PIPE, "text": True}
            done = subprocess.run([sys.executable, "-m", "reid"], cwd=ROOT, env=environment, **streams)
        assert done.returncode == 2
        assert done.stderr.startswith("error: standard output: No space left on device; check")
        assert len(done.stderr.splitlines()) == 1

    def test_that_were_never_there_are_not_missed(self):
        close = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'reid'])"
        done = subprocess.run([sys.executable, "-c", close], stderr=subprocess.PIPE, cwd=ROOT, text=True)
        assert (done.returncode, done.stderr) == (0, "")
