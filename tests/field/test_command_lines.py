"""Numbers as people and programs write them on command lines: taken for what they say, or refused in one line."""

import pytest

import evaluate
import metaAttack
import metaDefense
import trainReid
from reid.runtime import cli
from reid.synthperson import __main__ as synthperson

LONGEST_LINE = 512
SCRIPTS = {
    "train": (trainReid.parse, ["-d", "market1501", "--logs_dir", "x"]),
    "attack": (metaAttack.parse, ["-s", "market1501", "--resume", "m.pth", "-m", "personx"]),
    "defend": (metaDefense.parse, ["-s", "market1501", "--resume", "m.pth", "-m", "personx"]),
    "evaluate": (evaluate.parse, ["-d", "market1501", "--resume", "m.pth"]),
}
SEEDS = {"0": 0, "007": 7, " 5 ": 5, "1_000": 1000, str(2**63): 2**63, "17982163893102248868": 17982163893102248868}
SEEDS |= {str(2**64): 2**64, str(10**30): 10**30, str(2**128 - 1): 2**128 - 1}
NO_SEEDS = ["-1", "-0.5", "1.0", "1e3", "0x10", "", "none", "nan", "inf", str(2**128), "7" * 5000, "1\n2", "½"]
BUDGETS = {"8/255": 8 / 255, "0": 0, "1": 1, "0.031": 0.031, " 8 / 255 ": 8 / 255, "7.65/255": 0.03, "1e-2": 0.01}
NO_BUDGETS = {
    "-1/255": "budgets are not negative",
    "-1": "budgets are not negative",
    "-.5": "budgets are not negative",
    "=-inf": "budgets are not negative",
    "1/-255": "budgets are not negative",
    "300": "is not in [0, 1]",
    "8": "did you mean 8/255?",
    "256/255": "is not in [0, 1]",
    "nan": "is not in [0, 1]",
    "inf": "is not in [0, 1]",
    "inf/inf": "is not in [0, 1]",
    "8/0": "is not a number",
    "": "is not a number",
    "/": "is not a number",
    "/255": "is not a number",
    "8//255": "is not a number",
    "8/255/255": "is not a number",
    "8,255": "is not a number",
    "eight": "is not a number",
    "9" * 3000: "is not in [0, 1]",
    "x" * 3000: "is not a number",
}
WORKERS = {"0": 0, "1": 1, "64": 64}
NO_WORKERS = ["-1", "1.5", "all", ""]


@pytest.fixture
def refused(capsys):
    """The line with which a command refuses its options."""

    def attempt(parse, options):
        with pytest.raises(SystemExit) as left:
            cli.run(lambda argv: parse(argv), options)
        (line,) = capsys.readouterr().err.splitlines()
        assert left.value.code == 2
        assert len(line) <= LONGEST_LINE
        return line

    return attempt


@pytest.mark.parametrize("script", SCRIPTS)
class TestEveryScript:
    @pytest.mark.parametrize("text", SEEDS)
    def test_takes_seeds_of_any_size(self, script, text):
        parse, options = SCRIPTS[script]
        assert parse([*options, "--seed", text]).seed == SEEDS[text]

    @pytest.mark.parametrize("text", NO_SEEDS)
    def test_refuses_what_is_no_seed(self, script, text, refused):
        parse, options = SCRIPTS[script]
        assert "argument --seed: " in refused(parse, [*options, f"--seed={text}"])

    @pytest.mark.parametrize("text", WORKERS)
    def test_takes_numbers_of_workers_from_0(self, script, text):
        parse, options = SCRIPTS[script]
        assert parse([*options, "--workers", text]).workers == WORKERS[text]

    @pytest.mark.parametrize("text", NO_WORKERS)
    def test_refuses_other_numbers_of_workers(self, script, text, refused):
        parse, options = SCRIPTS[script]
        assert "argument --workers: " in refused(parse, [*options, f"--workers={text}"])


@pytest.mark.parametrize("text", BUDGETS)
def test_budgets_are_taken(text):
    parse, options = SCRIPTS["evaluate"]
    assert parse([*options, "--eps", text]).eps == pytest.approx([BUDGETS[text]], rel=1e-12)


@pytest.mark.parametrize("text", NO_BUDGETS)
def test_what_is_no_budget_is_refused(text, refused):
    parse, options = SCRIPTS["evaluate"]
    value = [f"--eps{text}"] if text.startswith("=") else ["--eps", text]
    line = refused(parse, [*options, *value])
    assert "argument --eps: " in line
    assert NO_BUDGETS[text] in line


@pytest.mark.parametrize("text", ["-1", str(2**128), "x"])
def test_drawn_people_refuse_the_same_seeds(text, refused):
    assert "argument --seed: " in refused(synthperson.main, ["synth-a", f"--seed={text}"])
