"""Command lines: checked options, one-line errors, exit codes."""

import argparse

import pytest
import torch

from reid.errors import UsageError
from reid.runtime import cli, device


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


def exit_code(main):
    with pytest.raises(SystemExit) as left:
        cli.run(main, [])
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
    with pytest.raises(ZeroDivisionError):
        cli.run(fail_with(ZeroDivisionError()), [])


def test_parser_errors_are_one_line(capsys):
    parser = cli.OneLineParser("A tool.")
    parser.add_argument("--size", type=cli.positive_int, default=3, help="size")
    with pytest.raises(SystemExit) as left:
        parser.parse_args(["--size", "0"])
    assert left.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_devices_and_precisions_are_checked():
    assert device.resolve("cpu", "fp32").precision == "fp32"
    assert device.resolve("cpu", "bf16").autocast().fast_dtype == torch.bfloat16
    with pytest.raises(UsageError, match="--device nonsense"):
        device.resolve("nonsense")
    with pytest.raises(UsageError, match="--precision fp8"):
        device.resolve("cpu", "fp8")
