"""The report of the benchmarks: the newest line of each job and kind, per machine."""

import json

import pytest

from benchmarks import report
from reid.errors import ReidError

COMMAND = "python -m benchmarks.speed"


def line(kind="ours", seconds=1.0, **fields):
    """A result whose plain rendition took 12 seconds."""
    return {
        "job": "Speed",
        "kind": kind,
        "precision": "fp32",
        "seconds": seconds,
        "peak_MB": 1234.4,
        "baseline": "plain",
        "baseline_seconds": 12.0,
        "timed": 3,
        "machine": "Abacus",
        "threads": 2,
        "torch": "2.15",
        "python": "3.11",
        "commit": "abc1234",
        "date": "2026-11-25",
        "command": COMMAND,
        **fields,
    }


def cells(text):
    """The rows of the Markdown tables in a text, without their rules."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("|")]
    return [row for row in rows if set(row[0]) != {"-"}]


class TestPage:
    def test_has_every_kind_with_speed_up_memory_and_commit(self):
        head, plain, ours = cells(report.table([line("plain", 12.0), line(seconds=0.75)]))
        assert head == ["kind", "precision", "seconds", "speed-up", "peak MB", "commit", "date"]
        assert plain[:5] == ["plain", "fp32", "12", "1", "1,234"]
        assert ours == ["ours", "fp32", "0.75", "16", "1,234", "abc1234", "2026-11-25"]

    def test_shows_scores_where_a_job_has_them(self):
        table = report.table([line(mAP={"clean": 88.5, "frozen": 29.0}), line("before")])
        assert [row[-1] for row in cells(table)] == ["mAP, %", "clean 88.5, frozen 29.0", ""]

    def test_keeps_machines_apart(self):
        page = report.page([line(), line(machine="Babbage")])
        assert "## Abacus, 2 threads" in page
        assert "## Babbage, 2 threads" in page


class TestSection:
    def test_has_our_kinds_of_the_commands_that_are_asked_for(self):
        lines = [
            line("plain", 12.0),
            line("ours, slow", 4.0),
            line("ours, slow", 2.0, precision="bf16"),
            line(command="python -m benchmarks.other"),
        ]
        section = report.section(lines, [COMMAND])
        assert cells(section)[1:] == [
            ["Speed, slow", "fp32", "12", "4", "3", "1,234"],
            ["Speed, slow", "bf16", "12", "2", "6", "1,234"],
        ]
        assert "Abacus, 2 threads; torch 2.15, Python 3.11, commit abc1234" in section

    def test_names_a_baseline_that_is_not_the_plain_rendition(self):
        section = report.section([line(baseline="product")], [COMMAND])
        assert cells(section)[1][2] == "12 (product)"

    def test_replaces_the_one_in_the_readme_and_nothing_else(self):
        new = report.section([line()], [COMMAND])
        readme = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        assert report.with_section(readme, new) == f"before\n{new}\nafter\n"
        with pytest.raises(ReidError, match="lacks the lines"):
            report.with_section("no markers", new)


class TestFiles:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path, monkeypatch):
        for name in ("RESULTS", "PAGE", "README"):
            monkeypatch.setattr(report, name, tmp_path / name)
        report.README.write_text(f"{report.BEGIN}\n{report.END}\n")

    def test_the_newest_line_of_a_kind_and_machine_counts(self):
        lines = [line(seconds=3.0), line(seconds=5.0, machine="Babbage"), line(seconds=2.0), line(precision="bf16")]
        report.RESULTS.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
        assert [each["seconds"] for each in report.read()] == [2.0, 5.0, 1.0]

    def test_a_check_writes_nothing_and_fails_when_they_are_stale(self):
        report.RESULTS.write_text(json.dumps(line()))
        with pytest.raises(SystemExit) as end:
            report.main(["--check"])
        assert end.value.code == 1
        assert not report.PAGE.exists()
        report.main([])
        report.main(["--check"])

    def test_without_results_they_say_so(self):
        report.write()
        assert report.NOT_YET in report.PAGE.read_text()
        assert report.NOT_YET in report.README.read_text()

    @pytest.mark.parametrize("text", ['{"kind": ', "{}"])
    def test_broken_results_are_refused(self, text):
        report.RESULTS.write_text(text)
        with pytest.raises(ReidError, match="is not what the benchmarks write"):
            report.write()


def test_the_files_in_the_repository_are_what_the_report_writes():
    assert report.write(check=True)
