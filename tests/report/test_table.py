"""The printed table: what a reader needs to judge a line is on that line."""

import dataclasses

import pytest

from reid.report.table import summary, table
from tests.studies.invented import relearnt, result


def shown(record, total, **metrics):
    """A record with all that a line shows."""
    scores = {"cmc": {"market1501": {"1": 0.5, "5": 0.6, "10": 0.7}}}
    return dataclasses.replace(
        record,
        spent={"total": total / 255},
        protocol={"side": "query"},
        metrics=record.metrics | scores | metrics,
    )


@pytest.fixture
def records():
    return [
        shown(result(0.8), 0),
        shown(result(0.2, "universal", "attack/0/best.pth", 0, "file"), 15.9),
        shown(result(0.6, "universal", "attack/1/best.pth", 1, "other"), 7.9),
        shown(result(0.1, "image", "pgd 8/255, 15 steps"), 8),
        shown(relearnt(0.3, 1, "model"), 15.8),
        shown(relearnt(0.25, 2, "model"), 15.8),
    ]


def cells(text, name):
    (line,) = (line for line in text.splitlines() if line.startswith(name))
    return [cell for cell in line.removeprefix(name).split("  ") if cell.strip()]


def test_every_attack_states_its_budget_and_its_total(records):
    text = table(records)
    stated = {name: [cell.strip() for cell in cells(text, name)[:3]] for name in ("attack/0", "attack/1", "pgd")}
    assert stated["attack/0"][-2:] == ["colour 8/255 + delta 8/255", "16/255"]
    assert stated["attack/1"][-2:] == ["colour 8/255", "8/255"]
    assert stated["pgd"][-2:] == ["delta 8/255", "8/255"]


def test_scores_are_in_percent_and_of_the_clean_line(records):
    assert [cell.strip() for cell in cells(table(records), "attack/0")[-7:]] == [
        "15.9/255", "20.0", "25.0", "10.0", "50.0", "60.0", "70.0",
    ]  # fmt: skip


def test_the_summary_names_the_worst_relearnt_attack_and_chance(records):
    lines = summary(records).splitlines()
    assert lines[0] == "model_best.pth (resnet10) on synth-a: 9 queries, 99 gallery images"
    assert "worst of the re-learnt attacks: mAP 25.0; this counts, not a frozen attack" in lines
    assert lines[-1] == "mAP of a random ranking (chance): 3.0"


def test_collapsed_features_are_reported_by_the_rows_that_have_them(records):
    assert "hardly differ" not in summary(records)
    records[3] = shown(records[3], 8, collapsed=True)
    assert "features that hardly differ, so that their order means little: pgd 8/255, 15 steps" in summary(records)
