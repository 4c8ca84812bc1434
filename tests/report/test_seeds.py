"""The page of several seeds: every number of every seed, and their means."""

import json

import pytest

from reid.errors import ReidError
from reid.report import seeds


def summary(seed, clean):
    victim = {
        "arch": "resnet10",
        "dataset": "synth-a",
        "clean": clean,
        "attacked": {"0": 0.3, "1": 0.5, "2": 0.4},
        "controls": {"random_sign": 0.79, "random_lut": 0.78, "both": 0.77},
        "chance": 0.02,
    }
    return {"victims": {"A": victim, "B": victim | {"clean": 0.5}}, "seed": seed, "seconds": 100.0 + seed}


def test_the_page_shows_each_seed_and_the_mean(tmp_path, capsys):
    paths = []
    for seed, clean in ((1, 0.8), (0, 0.9)):
        paths.append(tmp_path / f"{seed}.json")
        paths[-1].write_text(json.dumps(summary(seed, clean)))
    seeds.main([str(path) for path in paths])
    lines = capsys.readouterr().out.splitlines()
    assert lines.index("| 0 | 90.0 | 30.0 | 50.0 | 40.0 | 79.0 | 78.0 | 77.0 | 2.0 |") < lines.index(
        "| 1 | 80.0 | 30.0 | 50.0 | 40.0 | 79.0 | 78.0 | 77.0 | 2.0 |"
    )
    assert "| mean | 85.0 | 30.0 | 50.0 | 40.0 | 79.0 | 78.0 | 77.0 | 2.0 |" in lines
    assert any("leaves 0.35 of the clean mAP; it costs 55.0 points, random sign 6.0" in line for line in lines)


@pytest.mark.parametrize("text", ["", "{}", '{"victims": {"A": {}}}'])
def test_another_file_is_refused(text, tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(ReidError, match="is not a summary of the demo"):
        seeds.main([str(path)])
