"""A record of the defence study: what a suite found, small enough to be kept."""

import json
from hashlib import sha256

import numpy as np
import pytest
from made_up import QUERIES, judged, row, summary

from reid.errors import ReidError
from reid.report.evidence import subjects
from reid.runtime import cli
from studies import record
from studies.defense_results import COLUMNS, read_study


@pytest.fixture
def results(tmp_path):
    """A folder as a suite leaves it, with the model that training began with next to it."""
    folder = tmp_path / "results"
    delta = {"recipe": "nearest", "equal_total": True}
    rows = [
        *judged(folder, pictures=False),
        row(folder, "delta", "relearnt", 0.45, eps=16 / 255, settings=delta, pictures=False),
    ]
    summary(folder, rows)
    (tmp_path / "A.pth").write_bytes(b"A")
    return folder


def command(results, *more):
    out = results.parent / "records" / "seed0" / "meta" / "test.json"
    record.main([str(results), "--start", str(results.parent / "A.pth"), "--out", str(out), *more])
    return out


def test_it_has_what_the_page_reads(results):
    path = command(results, "--trained", "--defense meta")
    found = read_study(results.parent / "records").records["seed0", "meta", "test"]
    (subject,) = subjects([results])
    for column in COLUMNS:
        expected = subject.judgement.clean if column == "clean" else subject.judgement.worst(column)
        np.testing.assert_allclose(found.precision(column), expected.precision, atol=1e-4)
        assert found.worst(column) == expected.mAP
        assert found.interval(column) == tuple(subject.summary["intervals"][column])
    assert found.alone("image") == subject.summary["strongest"]["image"]["mAP"]
    assert found.content["pids"] == (np.arange(QUERIES) // 3).tolist()
    assert (found.content["trained"], found.content["start"]) == ("--defense meta", sha256(b"A").hexdigest())
    assert found.content["contents"] == "all"
    assert path.stat().st_size < 4_000


def test_it_says_nothing_of_the_machine(results):
    text = command(results).read_text()
    assert json.loads(text)["trained"] == ""
    assert "models/" not in text
    assert "evaluate.py" not in text


def test_only_one_finished_suite_with_all_attackers_is_recorded(results, capsys):
    row(results, "clean", "clean", 0.9, model="B.pth", pictures=False)
    with pytest.raises(ReidError, match="does not hold one finished suite with universal, "):
        command(results)
    for path in results.glob("*-summary.json"):
        path.unlink()
    with pytest.raises(SystemExit):
        cli.run(record.main, [str(results), "--start", "A.pth", "--out", "x.json"])
    assert capsys.readouterr().err.count("\n") == 1


def test_attacks_that_are_missing_are_no_zero(tmp_path):
    summary(tmp_path, judged(tmp_path, pictures=False))
    with pytest.raises(ReidError, match="universal_equal_total"):
        record.record(tmp_path, tmp_path, "")
