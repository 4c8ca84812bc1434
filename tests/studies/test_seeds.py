"""The page of several seeds: every number of every seed, and their means."""

import json

import pytest

from reid.errors import ReidError
from studies import seeds


def summary(seed, clean):
    victim = {
        "arch": "resnet10",
        "dataset": "synth-a",
        "clean": clean,
        "attacked": {"0": 0.3, "1": 0.5, "2": 0.4},
        "controls": {"random_sign": 0.79, "random_lut": 0.78, "both": 0.77},
        "chance": 0.02,
    }
    undefended = {"clean": clean, "frozen": 0.3, "relearnt": 0.25, "pgd": 0.1, "controls": victim["controls"]}
    defended = undefended | {"clean": clean - 0.02, "frozen": 0.7, "relearnt": clean - 0.3, "pgd": 0.2}
    flags = [{"name": "not converged", "detail": "it still fell"}] if seed else []
    judged = {
        "clean": clean,
        "chance": 0.02,
        "flags": flags,
        "worst": {"universal": 0.3, "image": 0.2, "image_gallery": 0.1, "search": 0.6},
    }
    withstands = judged | {"worst": judged["worst"] | {"image": clean - 0.2}}
    return {
        "victims": {"A": victim, "B": victim | {"clean": 0.5}},
        "defended": defended | {"undefended": undefended},
        "suite": {"A": judged, "D": withstands},
        "seed": seed,
        "seconds": 100.0 + seed,
    }


def printed(folder, capsys):
    """The lines of the page of two seeds, given in the wrong order."""
    paths = []
    for seed, clean in ((1, 0.8), (0, 0.9)):
        paths.append(folder / f"{seed}.json")
        paths[-1].write_text(json.dumps(summary(seed, clean)))
    seeds.main([str(path) for path in paths])
    return capsys.readouterr().out.splitlines()


def test_the_page_shows_each_seed_and_the_mean(tmp_path, capsys):
    lines = printed(tmp_path, capsys)
    assert lines.index("| 0 | 90.0 | 30.0 | 50.0 | 40.0 | 79.0 | 78.0 | 77.0 | 2.0 |") < lines.index(
        "| 1 | 80.0 | 30.0 | 50.0 | 40.0 | 79.0 | 78.0 | 77.0 | 2.0 |"
    )
    assert "| mean | 85.0 | 30.0 | 50.0 | 40.0 | 79.0 | 78.0 | 77.0 | 2.0 |" in lines
    assert any("leaves 0.35 of the clean mAP; it costs 55.0 points, random sign 6.0" in line for line in lines)


def test_the_page_sets_the_defended_model_beside_the_undefended_one(tmp_path, capsys):
    lines = printed(tmp_path, capsys)
    before, after = lines.index("Undefended (A):"), lines.index("Defended (D):")
    assert lines[before + 2 : after - 1] == [
        "| seed | clean | frozen | re-learnt | PGD | random sign | random LUT | random both |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| 0 | 90.0 | 30.0 | 25.0 | 10.0 | 79.0 | 78.0 | 77.0 |",
        "| 1 | 80.0 | 30.0 | 25.0 | 10.0 | 79.0 | 78.0 | 77.0 |",
        "| mean | 85.0 | 30.0 | 25.0 | 10.0 | 79.0 | 78.0 | 77.0 |",
        "| std | 7.1 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 |",
    ]
    assert lines[after + 4 : after + 7] == [
        "| 0 | 88.0 | 70.0 | 60.0 | 20.0 | 79.0 | 78.0 | 77.0 |",
        "| 1 | 78.0 | 70.0 | 50.0 | 20.0 | 79.0 | 78.0 | 77.0 |",
        "| mean | 83.0 | 70.0 | 55.0 | 20.0 | 79.0 | 78.0 | 77.0 |",
    ]
    words = " ".join(lines)
    assert (
        "changes mAP by +30.0 points under the re-learnt attack, +40.0 under the frozen one, +10.0 under PGD" in words
    )
    assert "-2.0 on clean images" in words


def test_the_page_has_the_verdict_of_both_models(tmp_path, capsys):
    lines = printed(tmp_path, capsys)
    lines = lines[lines.index("## The verdict of the smoke suite") :]
    before, after = lines.index("A:"), lines.index("D:")
    assert lines[before + 2 : before + 5] == [
        "| seed | clean | universal | image | with the gallery | search | chance |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| 0 | 90.0 | 30.0 | 20.0 | 10.0 | 60.0 | 2.0 |",
    ]
    assert lines[after + 4 : after + 7] == [
        "| 0 | 90.0 | 30.0 | 70.0 | 10.0 | 60.0 | 2.0 |",
        "| 1 | 80.0 | 30.0 | 60.0 | 10.0 | 60.0 | 2.0 |",
        "| mean | 85.0 | 30.0 | 65.0 | 10.0 | 60.0 | 2.0 |",
    ]
    assert lines.count("- Flag of seed 1, not converged: it still fell") == 2
    assert not any("seed 0, not" in line for line in lines)


def test_two_runs_of_one_seed_both_count():
    text = seeds.page([summary(0, 0.9), summary(0, 0.8)])
    assert "| 0 | 90.0 | 30.0 | 25.0" in text
    assert "| 0 | 80.0 | 30.0 | 25.0" in text


def test_a_verdict_without_flags_is_refused(tmp_path):
    path, broken = tmp_path / "summary.json", summary(0, 0.9)
    del broken["suite"]["A"]["flags"]
    path.write_text(json.dumps(broken))
    with pytest.raises(ReidError, match=r"is not a summary of the demo .*'flags'"):
        seeds.main([str(path)])


@pytest.mark.parametrize("part", ["defended", "suite"])
def test_a_summary_from_before_a_part_is_refused(part, tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({key: value for key, value in summary(0, 0.9).items() if key != part}))
    with pytest.raises(ReidError, match=rf"is not a summary of the demo .*'{part}'"):
        seeds.main([str(path)])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReidError, match=r"cannot read .*none\.json: No such file"):
        seeds.main([str(tmp_path / "none.json")])


@pytest.mark.parametrize("text", ["", "{}", '{"victims": {"A": {}}}'])
def test_another_file_is_refused(text, tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(ReidError, match="is not a summary of the demo"):
        seeds.main([str(path)])
