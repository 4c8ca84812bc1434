"""Time left of a list of jobs."""

from reid.runtime.pace import Pace


def test_is_told_from_the_work_that_is_done():
    now = [100.0]
    pace = Pace([10, 30, 60, 0.1], lambda: now[0])
    assert pace.begins() == "1 of 4"
    now[0] += 5
    assert pace.begins() == "2 of 4, about 45 s left"
    now[0] += 55
    assert pace.begins() == "3 of 4, about 2 min left"
    now[0] += 10_000
    assert pace.begins() == "4 of 4, about 10 s left"


def test_is_told_in_minutes_and_hours():
    now = [0.0]
    pace = Pace([1, 9, 90], lambda: now[0])
    pace.begins()
    now[0] = 60
    assert pace.begins() == "2 of 3, about 1.6 h left"
    now[0] = 100
    assert pace.begins() == "3 of 3, about 15 min left"
