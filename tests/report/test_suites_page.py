"""The page of the suites shows what they are, what attackers may do, and when flags are raised."""

from dataclasses import replace
from pathlib import Path

from pages import assert_shows

from reid.evaluation.flags import FLAGS
from reid.evaluation.goals import GOALS
from reid.evaluation.suites import SUITES, Each, Suite, Universal
from reid.report.suites import main, tables

PAGE = Path(__file__).parents[2] / "docs" / "suite.md"


def test_shows_what_the_command_prints(capsys):
    assert_shows(PAGE, main, tables, "reid.report.suites", capsys)


def test_names_every_goal_flag_and_key_of_the_summary():
    page = PAGE.read_text()
    for name in (*(f"`{goal}`" for goal in GOALS), *(flag.name for flag in FLAGS)):
        assert f"\n| {name} |" in page


def test_tells_each_entry_once_with_how_hard_each_suite_tries(monkeypatch):
    one = Suite(
        universal=(Universal("nearest", "query", warm=True), Universal("nearest", alone="delta", scale=0.5)),
        each=(Each("cosine:steps=3", "query", standing=True, longer=(2, 4)), Each("square:calls=9", "both", share=0.1)),
        transfer=("pgd:steps=2",),
        frozen="cosine",
        effort={"restarts": 2, "adaptive_epochs": 5},
        judges=True,
    )
    two = replace(one, universal=(), each=(Each("cosine:steps=7", "query", scale=2.0),), transfer=(), frozen=None)
    monkeypatch.setattr(SUITES, "_places", {"one": one, "two": two, "three": Suite()})
    monkeypatch.setattr(SUITES, "_summaries", {"one": "first", "two": "second", "three": "does not judge"})
    shown = tables()
    for line in (
        "| `one` | first |",
        "| recipe | side | budget at 8/255 | one | two |",
        "| `nearest` | queries | 8 + 8 | 2 x 5 epochs, given files |  |",
        "| `nearest` | as --side | delta 8 | 2 x 5 epochs |  |",
        "| `cosine` | queries, learnt on other models | 8 + 8 | 2 x 5 epochs |  |",
        "| `cosine` | queries | 8/255 | training images | 3 steps; what stands; 2x and 4x on a tenth |  |",
        "| `cosine` | queries | 16/255 | training images |  | 7 steps |",
        "| `square` | both | 8/255 | the other side, scores alone | 9 calls; 10 % |  |",
        "| `pgd` | queries, on other models | 8/255 | the other model | 2 steps |  |",
    ):
        assert line in shown.splitlines()
    assert "does not judge" not in shown
