"""Running benchmarks: lines are kept by command, and one that fails costs nothing but its own."""

import pytest

from benchmarks import report, run
from reid.errors import ReidError, UsageError
from reid.runtime import cli

COLOUR = run.commands(["colour"])


def line(command, seconds=1.0):
    return {"benchmark": command.split()[2].removeprefix("benchmarks."), "command": command, "kind": "ours"} | {
        "seconds": seconds
    }


class TestCommands:
    def test_are_those_of_the_table_in_its_order(self):
        assert run.commands(["ranking", "colour"])[-len(COLOUR) :] == COLOUR
        assert COLOUR[0] == f"python -m benchmarks.colour {run.SUBJECTS['colour'][0]}".strip()

    def test_quick_are_the_first_of_each_subject(self):
        assert run.commands(["ranking", "colour"], quick=True) == [run.commands(["ranking"])[0], COLOUR[0]]

    def test_of_an_unknown_subject_are_refused(self):
        with pytest.raises(UsageError, match="there is no benchmark 'speed'; there are attack_step, "):
            run.commands(["colour", "speed"])


class TestMeasure:
    @pytest.fixture
    def script(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return tmp_path / "some_benchmark.py"

    def test_gives_the_json_lines_of_a_process_and_its_command(self, script):
        script.write_text(
            """import sys; print("warming up"); print('{"kind": "ours", "option": "%s"}' % sys.argv[1])"""
        )
        command = "python -m some_benchmark --fast"
        expected = {"kind": "ours", "option": "--fast", "benchmark": "some_benchmark", "command": command}
        assert run.measure(command) == [expected]

    @pytest.mark.parametrize("text", ["print('{}'); raise SystemExit(3)", "print('nothing in JSON')"])
    def test_of_a_process_that_fails_or_prints_no_line_is_an_error(self, script, text):
        script.write_text(text)
        with pytest.raises(ReidError, match="python -m some_benchmark failed with exit code"):
            run.measure("python -m some_benchmark")


def test_new_lines_replace_those_of_the_same_command_in_the_order_of_the_table():
    (quick, other), foreign = COLOUR[:2], "python -m benchmarks.colour --threads 64"
    old = [line(foreign), line(other), line(quick, 1.0), line(quick, 2.0)]
    merged = run.merged(old, [line(quick, 3.0)])
    assert [(each["command"], each["seconds"]) for each in merged] == [(quick, 3.0), (other, 1.0), (foreign, 1.0)]


class TestMain:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path, monkeypatch):
        for name in ("RESULTS", "NOTES", "PAGE", "README"):
            monkeypatch.setattr(report, name, tmp_path / name)
        report.NOTES.write_text('page.text = ""\nreadme.text = ""\n')
        report.README.write_text(f"{report.BEGIN}\n{report.END}\n")

    def test_keeps_what_succeeded_when_another_fails(self, monkeypatch, capsys):
        def measure(command):
            if "colour" in command:
                raise ReidError("no paint")
            return [line(command)]

        monkeypatch.setattr(run, "measure", measure)
        with pytest.raises(SystemExit) as end:
            run.main(["colour", "ranking"])
        assert end.value.code == 1
        assert [each["command"] for each in report.read()] == run.commands(["ranking"])
        assert "| ours | 1 " in capsys.readouterr().out
        assert "ours" in report.PAGE.read_text()

    def test_an_unknown_subject_is_one_line_and_exit_code_2(self, capsys):
        with pytest.raises(SystemExit) as end:
            cli.run(run.main, ["speed"])
        assert end.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not report.RESULTS.exists()
