"""Drawn sets that are made where they are not there."""

import json

import pytest

from reid.errors import DatasetError
from reid.synthperson import missing
from reid.synthperson.generate import DEFAULTS, Sizes
from reid.synthperson.missing import draw_missing


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name in DEFAULTS:
        monkeypatch.setitem(DEFAULTS, name, Sizes(3, 1, 2, 2))


def settings(root, name):
    return json.loads((root / name / "raw" / "settings.json").read_text())


def test_drawn_ones_are_made_once_and_others_are_left_to_their_loaders(tmp_path, monkeypatch):
    draw_missing(["Synth_A", "market1501", f"folder:{tmp_path}"], {"": str(tmp_path)}, (32, 16), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["synth-a"]
    drawn = settings(tmp_path, "synth-a")
    assert (drawn["ids"], drawn["height"], drawn["width"], drawn["seed"]) == (2, 32, 16, 0)
    monkeypatch.setattr(missing, "generate", None)
    draw_missing(["synth-a"], {"": str(tmp_path)}, (64, 32), None)
    draw_missing(["synth-a"], {"": str(tmp_path)}, (64, 32), 2, seed=1)


def test_the_seed_draws_other_people(tmp_path):
    draw_missing(["synth-a"], {"": str(tmp_path)}, (32, 16), seed=7)
    assert settings(tmp_path, "synth-a")["seed"] == 7


def test_one_with_other_identities_is_not_taken_for_it(tmp_path):
    draw_missing(["synth-b"], {"": str(tmp_path)}, (32, 16))
    assert settings(tmp_path, "synth-b")["ids"] == 3
    with pytest.raises(DatasetError, match="is there with 3 training identities, not 4; leave --ids out"):
        draw_missing(["synth-b"], {"": str(tmp_path)}, (32, 16), 4)


def test_a_folder_of_its_own_is_the_users(tmp_path):
    draw_missing(["synth-a"], {"synth-a": str(tmp_path / "mine"), "": str(tmp_path)}, (32, 16))
    assert not list(tmp_path.iterdir())
