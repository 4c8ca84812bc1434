"""The report of the benchmarks: its numbers are those of the lines, and it hides nothing that is slow."""

import json

import pytest

from benchmarks import report
from reid.errors import ReidError

COMMAND = "python -m benchmarks.speed --batch_size 16"
NOTES = {
    "page": {"text": "How it was measured."},
    "readme": {"text": "In short."},
    "speed": {
        "title": "Speed",
        "floor": "the light of it.",
        "reasons": {"ours": "Any of ours.", "ours, slow": "It waits."},
    },
}


def line(kind, seconds=1.0, command=COMMAND, benchmark="speed", **fields):
    """A result whose floor is half a second and whose literal baseline took 12."""
    return {
        "benchmark": benchmark,
        "kind": kind,
        "batch_size": 16,
        "seconds": seconds,
        "peak_MB": 1234.4,
        "speedup": 12 / seconds,
        "floor_seconds": 0.5,
        "to_floor": seconds / 0.5,
        "machine": "Abacus",
        "threads": 2,
        "torch": "2.15",
        "command": command,
        **fields,
    }


@pytest.fixture
def lines():
    return [line("literal", 12.0), line("ours", 0.75), line("ours, slow", 4.0)]


def cells(table):
    """The rows of a Markdown table, without its rule."""
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return [row for row in rows if set(row[0]) != {"-"}]


def asking(*require, **match):
    return NOTES | {"speed": NOTES["speed"] | {"asked": [{"match": match, "require": list(require)}]}}


def rows_of(section):
    return cells("\n".join(row for row in section.splitlines() if row.startswith("|")))[1:]


class TestTable:
    def test_has_seconds_speed_up_memory_and_floor(self, lines):
        head, literal, *_ = cells(report.table(lines))
        assert head == ["kind", "seconds", "speed-up", "peak MB", "x floor"]
        assert literal == ["literal", "12", "1", "1,234", "24"]

    def test_shows_facts_that_differ_and_leaves_out_columns_that_nobody_has(self):
        plan = [{"kind": "first", "batch_size": 8, "largest": 1200}, {"kind": "second", "batch_size": 8}]
        assert cells(report.table(plan)) == [["kind", "largest"], ["first", "1,200"], ["second", ""]]

    def test_spells_out_what_has_parts(self):
        lines = [line("ours", mAP={"clean": 88.512, "attacked": 29}), line("before")]
        assert cells(report.table(lines))[1][-1] == "clean 88.5, attacked 29"


class TestPage:
    def test_states_floor_command_conditions_and_machine(self, lines):
        page = report.page(lines, NOTES)
        assert "## Speed\n\nFloor: the light of it.\n\n" in page
        assert f"`{COMMAND}`: batch_size 16, Abacus, 2 threads, torch 2.15.\n\n{report.table(lines)}\n" in page

    def test_says_what_else_is_to_be_said_of_a_subject(self, lines):
        notes = NOTES | {"speed": NOTES["speed"] | {"text": "Mind this.\n"}}
        assert "## Speed\n\nMind this.\n\nFloor: " in report.page(lines, notes)

    def test_has_a_table_for_each_command(self, lines):
        other = [line("ours", 2.0, command="python -m benchmarks.speed")]
        page = report.page(lines + other, NOTES)
        assert report.table(lines) in page
        assert report.table(other) in page

    def test_names_every_own_kind_above_twice_its_floor_and_the_reason(self, lines):
        edge, odd = line("ours, edge", 1.0), line("ours, odd", 1.01, benchmark="unknown")
        other = line("ours, slow", 2.0, command="python -m benchmarks.speed")
        _, above = report.page([*lines, edge, odd, other], NOTES).split("## Still above twice its floor\n\n")
        assert above.splitlines() == [
            "- Speed, ours, slow, 8 x `--batch_size 16`, 4 x: It waits.",
            "- unknown, ours, odd, 2.02 x: no reason recorded",
        ]

    def test_says_so_when_nothing_is_above(self, lines):
        assert report.page(lines[:2], NOTES).endswith("## Still above twice its floor\n\nNothing.\n")


class TestSection:
    def test_has_the_fastest_own_kind_of_each_subject(self, lines):
        other = [line("ours", 2.0, command="python -m benchmarks.other", benchmark="other"), line("peer", 0.1)]
        assert rows_of(report.section(lines + other, NOTES)) == [
            ["Speed `--batch_size 16`", "ours", "0.75", "16", "1,234", "1.5", ""],
            ["other", "ours", "2", "6", "1,234", "4", ""],
        ]

    def test_judges_what_is_asked_of_the_fastest_own_kind_that_it_is_about(self, lines):
        section = report.section(lines, asking("speedup >= 3", "peak_MB <= 1000", kind="ours, slow"))
        (row,) = rows_of(section)
        assert row[1] == "ours, slow"
        assert row[-1] == "speedup >= 3: yes; peak_MB <= 1000: no (1,234)"

    def test_prefers_the_commands_that_something_is_asked_of(self, lines):
        other = [line("ours", 2.0, command="python -m benchmarks.speed --batch_size 64", batch_size=64)]
        (row,) = rows_of(report.section(lines + other, asking("speedup >= 6", batch_size=64)))
        assert row[0] == "Speed `--batch_size 64`"

    def test_replaces_the_one_in_the_readme_and_nothing_else(self, lines):
        new = report.section(lines, NOTES)
        readme = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
        assert report.with_section(readme, new) == f"before\n{new}\nafter\n"
        assert report.with_section(report.with_section(readme, new), new) == report.with_section(readme, new)
        with pytest.raises(ReidError, match="lacks the lines"):
            report.with_section("no markers", new)


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("speedup >= 16", "yes"),
        ("speedup >= 16.5", "no (16)"),
        ("to_floor <= 1.5", "yes"),
        ("seconds <= 0.1 of literal", "yes (0.0625)"),
        ("seconds <= 0.05 of literal", "no (0.0625)"),
        ("seconds >= 0.5 of ours, slow", "no (0.188)"),
        ("seconds <= 0.5 of a peer that is not there", "not measured"),
        ("mAP >= 0.5", "not measured"),
    ],
)
def test_a_verdict_compares_with_a_number_or_with_another_kind(lines, requirement, expected):
    assert report.verdict(requirement, lines[1], lines) == f"{requirement}: {expected}"


def test_a_requirement_that_cannot_be_read_is_refused(lines):
    with pytest.raises(ReidError, match="'fast' is not FIELD <= NUMBER"):
        report.verdict("fast", lines[1], lines)


class TestFiles:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path, monkeypatch, lines):
        for name in ("RESULTS", "NOTES", "PAGE", "README"):
            monkeypatch.setattr(report, name, tmp_path / name)
        report.NOTES.write_text('page.text = "How."\nreadme.text = "Short."\n')
        report.README.write_text(f"{report.BEGIN}\n{report.END}\n")
        report.RESULTS.write_text("".join(f"{json.dumps(each)}\n" for each in lines))

    def test_are_written_once(self):
        assert not report.write()
        assert report.table(report.read()) in report.PAGE.read_text()
        assert "| ours" in report.README.read_text()
        assert report.write()

    def test_a_check_writes_nothing_and_fails_when_they_are_stale(self):
        with pytest.raises(SystemExit) as end:
            report.main(["--check"])
        assert end.value.code == 1
        assert not report.PAGE.exists()
        report.main([])
        report.main(["--check"])

    def test_no_results_or_broken_ones_are_refused(self):
        report.RESULTS.write_text('{"kind": ')
        with pytest.raises(ReidError, match="is not JSON lines"):
            report.write()
        report.RESULTS.unlink()
        with pytest.raises(ReidError, match="has no results"):
            report.write()


def test_the_files_in_the_repository_are_what_the_report_writes():
    assert report.write(check=True)
