"""Command lines: checked options, one-line errors, exit codes."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from reid.errors import UsageError
from reid.runtime import cli, job

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (cli.positive_int, {"1": 1, "64": 64}, ["0", "-1", "1.5", "x", ""]),
        (cli.natural_int, {"0": 0, "7": 7}, ["-1", "0.5", "x"]),
        (cli.positive_float, {"0.5": 0.5, "1e-3": 1e-3}, ["0", "-1", "inf", "nan", "x"]),
        (cli.natural_float, {"0": 0.0, "2.5": 2.5}, ["-0.1", "inf", "nan", "x"]),
    ],
)
def test_number_types_take_good_and_refuse_bad_text(kind, good, bad):
    assert {text: kind(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="is not a"):
            kind(text)


def exit_code(main, *argv):
    with pytest.raises(SystemExit) as left:
        cli.run(main, argv)
    return left.value.code


def fail_with(error):
    def main(argv):
        raise error

    return main


def test_a_user_error_is_one_line_and_code_2(capsys):
    assert exit_code(fail_with(UsageError("--lr 0 is too small; take 0.1"))) == 2
    assert capsys.readouterr().err == "error: --lr 0 is too small; take 0.1\n"


def test_an_interrupt_says_how_to_go_on(capsys):
    assert exit_code(fail_with(KeyboardInterrupt())) == 130
    assert "--resume-from auto" in capsys.readouterr().err


def test_success_is_code_0_and_a_bug_is_not_hidden():
    assert exit_code(lambda argv: None) == 0
    for bug in (ZeroDivisionError(), RuntimeError("shapes differ")):
        with pytest.raises(type(bug)):
            cli.run(fail_with(bug), [])


class TestErrorsOfTheSystem:
    def test_about_a_path_name_it(self, tmp_path, capsys):
        assert exit_code(lambda argv: (tmp_path / "none").read_text()) == 2
        line = f"error: {tmp_path / 'none'}: No such file or directory; check the path, its permissions"
        assert capsys.readouterr().err.startswith(line)

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
            (OSError("no module of this name"), "no module of this name"),
            (TimeoutError(), "TimeoutError"),
        ],
    )
    def test_about_something_else_say_what_failed_and_where(self, error, words, capsys):
        assert exit_code(fail_with(error)) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"error: {words}, in main (test_cli.py, line ")
        assert "check the path" not in line

    @pytest.mark.parametrize("error", [UsageError("too small"), OSError(28, "No space left"), job.Lost("gone")])
    def test_show_where_they_came_from_with_debug(self, error, capsys):
        plain, traced = (exit_code(fail_with(error)), exit_code(fail_with(error), "--debug"))
        assert plain == traced
        first, *between, last = capsys.readouterr().err.splitlines()
        assert first == last
        assert between[0] == "Traceback (most recent call last):"
        assert any("raise error" in line for line in between)


@pytest.fixture
def parser():
    parser = cli.OneLineParser("A tool.", [], prog="tool")
    parser.add_argument("-d", "--dataset", required=True, help="dataset")
    parser.add_argument("--size", type=cli.positive_int, default=3, help="size")
    parser.add_argument("--batch_size", type=int, help="images (default: all)")
    parser.add_argument("--logs-dir", "--logs", help="folder")
    parser.add_argument("--epochs", "--epoch", type=int, default=5, help="epochs")
    parser.add_argument("--kind", choices=["online", "frozen"], nargs="+", default=["frozen"], help="what")
    parser.add_argument("--eps", type=cli.grey_level_budget, default=8 / 255, help="budget")
    parser.add_argument("--levels", type=cli.budget, nargs="+", default=[0.0, 2 / 255], help="budgets")
    return parser


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            ["--batch-size", "7", "--logs_dir", "a_b-c", "--epoch", "2"],
            ["--batch_size=7", "--logs-dir=a_b-c", "--epochs=2"],
            ["--batch-size=7", "--logs", "a_b-c", "--epoch=2"],
        ],
    )
    def test_both_spellings_and_both_names_work(self, parser, options):
        args = parser.parse_args(["--dataset", "x", *options])
        assert (args.batch_size, args.logs_dir, args.epochs) == (7, "a_b-c", 2)

    def test_values_stay_as_they_are(self, parser):
        args = parser.parse_args(["--logs_dir=--batch-size=3", "-d", "a-b_c"])
        assert (args.logs_dir, args.dataset, args.batch_size) == ("--batch-size=3", "a-b_c", None)

    @pytest.mark.parametrize(
        ("option", "line"),
        [
            ("--bath_size", "error: no option is called --bath_size; did you mean --batch_size? See tool --help\n"),
            ("--logsdir=x", "error: no option is called --logsdir; did you mean --logs-dir? See tool --help\n"),
            ("-dataset", "error: no option is called -dataset; did you mean --dataset? See tool --help\n"),
            ("--batch", "error: no option is called --batch; did you mean --batch_size? See tool --help\n"),
            ("--zzzzzzz", "error: no option is called --zzzzzzz; see tool --help\n"),
        ],
    )
    def test_an_unknown_one_gets_a_near_match_even_where_others_are_missing(self, parser, option, line, capsys):
        assert exit_code(parser.parse_args, option, "8") == 2
        assert capsys.readouterr().err == line

    def test_a_misspelt_choice_gets_a_near_match(self, parser, capsys):
        assert exit_code(parser.parse_args, "-d", "x", "--kind", "online", "frosen") == 2
        words = "--kind: 'frosen' is none of online, frozen; did you mean frozen? See"
        assert words in capsys.readouterr().err

    def test_wrong_ones_are_one_line(self, parser, capsys):
        for options in (["--size", "0"], [], ["-d"], ["-d", "x", "stray"], ["--plugin"]):
            assert exit_code(parser.parse_args, *options) == 2
            assert len(capsys.readouterr().err.splitlines()) == 1

    @pytest.mark.parametrize("option", ["--batch_size", "--batch-size"])
    def test_errors_spell_them_as_the_user_did(self, parser, option, capsys):
        assert exit_code(parser.parse_args, "-d", "x", option, "many") == 2
        assert f"argument {option}: " in capsys.readouterr().err

    def test_a_plugin_runs_before_the_options_are_known(self, tmp_path, parser):
        (tmp_path / "own.py").write_text("import argparse\nargparse.OWN = 'seen'")
        argv = ["--plugin", str(tmp_path / "own.py"), "-d", "x"]
        cli.OneLineParser("A tool.", argv)
        assert argparse.__dict__.pop("OWN") == "seen"
        assert parser.parse_args(argv).plugin == [argv[1]]
        cli.OneLineParser("A tool.", argv)
        assert "OWN" not in argparse.__dict__, "a file runs once"

    def test_a_plugin_that_is_no_python_file_is_told_from_a_missing_one(self, tmp_path):
        (tmp_path / "own.txt").write_text("")
        for name, words in (("own.txt", "its name must end in .py"), ("own.py", "no such file")):
            with pytest.raises(UsageError, match=words):
                cli.OneLineParser("A tool.", ["--plugin", str(tmp_path / name)])


class TestHelp:
    @pytest.fixture
    def shown(self, parser):
        return " ".join(parser.format_help().split())

    def test_states_defaults_where_there_are_any(self, shown):
        for words in ("size (default: 3)", "images (default: all) ", "what (default: frozen)", "folder --epochs"):
            assert words in shown
        assert "dataset --size" in shown, "required"
        assert "None" not in shown
        assert "[]" not in shown
        assert "False" not in shown

    def test_writes_budgets_as_the_field_does(self, shown):
        assert "budget (default: 8/255)" in shown
        assert "budgets (default: 0/255 2/255)" in shown

    def test_shows_one_of_several_names(self, shown):
        assert "-d, --dataset DATASET dataset" in shown
        assert "--epochs EPOCHS epochs (default: 5)" in shown
        assert "--epoch EPOCHS" not in shown

    def test_has_what_every_command_has(self, shown):
        assert "--plugin FILE" in shown
        assert "--debug" in shown


class TestBudgets:
    @pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.03", 0.03), ("0", 0), ("1", 1), ("1/2", 0.5)])
    def test_are_fractions(self, text, value):
        assert cli.budget(text) == value

    @pytest.mark.parametrize(
        ("text", "value"),
        [("8", 8 / 255), ("1", 1 / 255), ("255", 1), ("2.5", 2.5 / 255), ("4/255", 4 / 255), ("0", 0)],
    )
    def test_or_grey_levels_where_those_are_taken(self, text, value):
        assert cli.grey_level_budget(text) == value

    @pytest.mark.parametrize("kind", cli.BUDGETS)
    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            ("-1", "budgets are not negative"),
            ("-1/255", "budgets are not negative"),
            ("x", "is not a number"),
            ("256", "is not in"),
            ("256/255", "is not in"),
            ("nan", "is not in"),
        ],
    )
    def test_refuse_the_rest(self, kind, bad, words):
        with pytest.raises(argparse.ArgumentTypeError, match=words):
            kind(bad)

    def test_of_nothing_are_refused_where_something_must_change(self):
        assert cli.positive_budget("8") == 8 / 255
        with pytest.raises(argparse.ArgumentTypeError, match="allows no change"):
            cli.positive_budget("0/255")

    def test_below_0_reach_their_type(self, parser, capsys):
        for text in ("-1", "-1/255", "-.5", "-1e-3"):
            assert exit_code(parser.parse_args, "-d", "x", "--eps", text) == 2
            assert "budgets are not negative" in capsys.readouterr().err


def test_an_image_size_is_the_users_else_the_checkpoints_else_the_usual_one():
    assert cli.image_size(None, None) == (256, 128)
    assert cli.image_size(None, None, (80, 40)) == (80, 40)
    assert cli.image_size(384, None, (80, 40)) == (384, 40)


def test_settings_are_what_determines_a_result():
    options = {"lr": 0.1, "logs_dir": "a", "plugin": ["b"], "debug": True, "resume": "c"}
    assert cli.settings(options, ignore=["resume"]) == {"lr": "0.1"}


@pytest.mark.parametrize("module", ["reid.runtime.cli", "reid.datasets", "reid.datasets.__main__", "reid.__main__"])
def test_command_lines_are_known_without_torch(module):
    line = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", line], cwd=ROOT).returncode == 0
