"""A clean mAP that is off what the zoo has of the model is named, and nothing else is."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from cheats import Court, linear, victim
from test_verdict import MODEL, result
from zoo_entries import figure, write_entry

from reid.evaluation.figures import away
from reid.evaluation.rows import CLEAN_ROW
from reid.evaluation.suites import Suite
from reid.models.zoo import entries

PIDS = np.repeat(np.arange(20), 2)
PRECISION = np.tile([0.5, 0.7], 20) + np.repeat(np.linspace(-0.1, 0.1, 20), 2)  # mAP 0.6, about 2.7 points either way
NEAR, FAR = 0.59, 0.5
IMAGES = "1" * 64


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "FOLDER", tmp_path / "zoo")
    return lambda **values: write_entry(tmp_path / "zoo", **values)


@pytest.fixture
def known(zoo):
    """`known(measured=[...])` makes the model that is evaluated one of the zoo, with these figures."""
    file = {"name": "toy.pth", "bytes": 3, "sha256": MODEL["sha256"]}
    return lambda **values: zoo(files=[file], **values)


def lines(precision=PRECISION, **protocol):
    clean = replace(result(), dataset=result().dataset | {"contents": IMAGES}, protocol={"side": "query", **protocol})
    return list(away(clean, precision, PIDS))


def measured(mAP, **changes):
    return [figure(mAP, interval=[mAP - 0.03, mAP + 0.03], contents=IMAGES, **changes)]


def test_a_published_one_is_compared_with_the_interval_over_identities(known):
    known(published=[figure(NEAR)])
    assert lines() == []
    known(published=[figure(FAR), figure(0.7)])
    first, second = lines()
    assert first.startswith("zoo:toy has mAP 60.0 [57.")
    assert first.endswith("] here; published: toy 50.0 (a paper)")
    assert second.endswith("published: toy 70.0 (a paper)")


def test_a_published_range_is_to_meet_the_interval(known):
    known(published=[figure(0.5, interval=[0.5, 0.58])])
    assert lines() == []
    known(published=[figure(0.5, interval=[0.5, 0.55])])
    assert len(lines()) == 1


def test_a_measured_one_has_an_interval_of_its_own(known):
    known(measured=measured(NEAR))
    assert lines() == []
    known(measured=measured(0.56))  # the intervals overlap, but the images are the same ones
    (line,) = lines()
    assert line.endswith("measured: toy 56.0 [53.0, 59.0] (a paper)")


@pytest.mark.parametrize("change", [{"dataset": "others"}, {"contents": "2" * 64}, {"protocol": {"rerank": True}}])
def test_a_figure_of_something_else_says_nothing(change, known):
    known(measured=[measured(FAR)[0] | change])
    assert lines(rerank=False) == []


def test_the_validation_identities_are_not_those_of_a_figure(known):
    known(published=[figure(FAR)])
    assert len(lines()) == 1
    assert lines(identities="validation") == []


def test_a_figure_without_contents_is_of_the_dataset_by_name(known):
    known(measured=[measured(FAR)[0] | {"contents": None}])
    assert len(lines()) == 1


def test_queries_without_a_match_do_not_count(known):
    known(published=[figure(0.7)])
    assert lines(np.where(np.arange(40) % 2 == 0, np.nan, PRECISION)) == []


def test_a_model_that_the_zoo_has_not_is_never_off(zoo):
    zoo(content=b"other", published=[figure(FAR)])
    assert lines() == []


def test_it_is_said_as_soon_as_clean_images_are_scored(zoo, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("reid.evaluation.results.versions", dict)
    caplog.set_level(logging.WARNING)
    model, court = victim(linear), Court(tmp_path)
    zoo(files=[{"name": "toy.pth", "bytes": 3, "sha256": model.sha256}], published=[figure(0.1)])
    judgement = court.plan(model, Suite()).judgement
    for clean in court.experiment(model).run([CLEAN_ROW], reuse=False):
        judgement.add(clean)
    (line,) = (message for message in caplog.messages if "zoo" in message)
    assert line.startswith("the clean mAP is not that of the zoo: zoo:toy has mAP ")
