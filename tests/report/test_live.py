"""The page of a run while it runs."""

import pytest
from made_up import judged, row

from reid.report import live
from reid.report.live import PAGE, followed, refresh


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass: one for each look at the clock."""
    now = iter(range(10_000))
    monkeypatch.setattr(live.time, "monotonic", lambda: float(next(now)))


def test_the_page_is_rewritten_as_results_come_but_not_all_the_time(tmp_path, clock, monkeypatch):
    notes = []
    monkeypatch.setattr(live, "refresh", lambda folder, note: notes.append(note))
    assert list(followed(range(100), tmp_path, wanted=True)) == list(range(100))
    assert [int(note.split("far: ")[1].split(".")[0]) for note in notes] == [1, 21, 41, 61, 81]  # a second of twenty


def test_nobody_who_does_not_want_it_gets_one(tmp_path):
    assert list(followed(judged(tmp_path), tmp_path, wanted=False))
    assert not (tmp_path / PAGE).exists()


def test_says_that_the_run_goes_on_until_it_ends(tmp_path):
    for _ in followed(iter(judged(tmp_path)), tmp_path, wanted=True):
        pass
    assert "This run is not finished. Results so far: 1." in (tmp_path / PAGE).read_text(encoding="utf-8")
    assert refresh(tmp_path) == tmp_path / PAGE
    assert "not finished" not in (tmp_path / PAGE).read_text(encoding="utf-8")


def test_a_page_that_cannot_be_made_does_not_end_the_run(tmp_path, caplog):
    row(tmp_path, "push", "image", 0.3)  # no clean images yet
    assert list(followed([1, 2], tmp_path, wanted=True)) == [1, 2]
    assert "no page was written" in caplog.text
    assert not (tmp_path / PAGE).exists()
