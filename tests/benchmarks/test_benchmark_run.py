"""Running benchmarks: lines are appended, and a command that fails costs its own alone."""

import pytest

from benchmarks import report, run
from reid.errors import ReidError, UsageError
from reid.runtime import cli

LOADING = run.commands(["loading"])


def line(command):
    return dict.fromkeys(report.IDENTITY, "") | {
        "kind": "ours",
        "command": command,
        "job": command,
        "seconds": 1.0,
        "peak_MB": 1.0,
        "baseline": "plain",
        "baseline_seconds": 2.0,
        **dict.fromkeys(("torch", "python", "commit", "date"), "x"),
    }


class TestCommands:
    def test_are_those_of_the_tables_in_the_order_of_the_subjects(self):
        assert run.commands(["ranking", "loading"])[-len(LOADING) :] == LOADING
        assert LOADING[0] == f"python -m benchmarks.loading {run.QUICK['loading'][0]}"

    def test_quick_are_those_of_the_quick_table(self):
        assert run.commands(["attack_step", "demo"], quick=True) == ["python -m benchmarks.attack_step --batch_size 16"]

    def test_of_an_unknown_subject_are_refused(self):
        with pytest.raises(UsageError, match="there is no benchmark 'speed'; there are attack_step, "):
            run.commands(["loading", "speed"])


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
        expected = {"kind": "ours", "option": "--fast", "command": command}
        assert run.measure(command) == [expected]

    @pytest.mark.parametrize("text", ["print('{}'); raise SystemExit(3)", "print('nothing in JSON')"])
    def test_of_a_process_that_fails_or_prints_no_line_is_an_error(self, script, text):
        script.write_text(text)
        with pytest.raises(ReidError, match="python -m some_benchmark failed with exit code"):
            run.measure("python -m some_benchmark")


class TestMain:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path, monkeypatch):
        for name in ("RESULTS", "PAGE", "README"):
            monkeypatch.setattr(report, name, tmp_path / name)
        report.README.write_text(f"{report.BEGIN}\n{report.END}\n")

    def test_keeps_what_succeeded_when_another_fails(self, monkeypatch, capsys):
        def measure(command):
            if "loading" in command:
                raise ReidError("no paint")
            return [line(command)]

        monkeypatch.setattr(run, "measure", measure)
        with pytest.raises(SystemExit) as end:
            run.main(["loading", "ranking"])
        assert end.value.code == 1
        assert [each["command"] for each in report.read()] == run.commands(["ranking"])
        assert "| ours |" in capsys.readouterr().out
        assert "ours" in report.PAGE.read_text()

    def test_an_unknown_subject_is_one_line_and_exit_code_2(self, capsys):
        with pytest.raises(SystemExit) as end:
            cli.run(run.main, ["speed"])
        assert end.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not report.RESULTS.exists()
