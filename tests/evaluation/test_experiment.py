"""Results of the rows of one model on one dataset: what tells them apart, what is reused, and what was checked."""

from dataclasses import replace
from pathlib import Path

import pytest
from people import people
from PIL import Image

from reid import attacks
from reid.attacks import Threat
from reid.attacks.image.pgd import PGD
from reid.datasets import Dataset, Release
from reid.datasets.contents import contents_sha256
from reid.errors import ReidError
from reid.evaluation.detector import LEAST
from reid.evaluation.experiment import Experiment
from reid.evaluation.protocol import Protocol
from reid.evaluation.results import read_results
from reid.evaluation.retrieval import Retrieval
from reid.evaluation.rows import CLEAN_ROW, DISTORTIONS, Row, control_rows, image_rows
from reid.loading import Images
from reid.models import Victim
from reid.runtime.device import resolve

CPU = resolve("cpu", "fp32")
IMAGES = Images(8, 4, workers=1)


@pytest.fixture
def samples(draw):
    return draw(8, 4)


@pytest.fixture
def experiment(samples, tmp_path):
    """`experiment(side)`: of a victim that takes mean colours, on the images as they are on disk now."""

    def build(side="query", dataset=None):
        query, gallery = samples[::3], [s for s in samples if s not in samples[::3]]
        splits = {"trainval": [], "query": query, "gallery": gallery}
        dataset = dataset or Dataset("own", Path("images"), splits, 3, Release("own"))
        sides = IMAGES.stores((dataset.query, dataset.gallery))
        return Experiment(
            Retrieval(Victim(lambda images: images.mean((2, 3))), sides, CPU),
            dataset,
            victim={"path": "model.pth", "arch": "mean", "sha256": "ab" * 32},
            settings=Protocol().settings("euclidean", IMAGES, CPU),
            side=side,
            seed=0,
            command="evaluate.py",
            folder=tmp_path / "results",
        )

    return build


def spoil(samples):
    """Give the images other pixels; names, identities and cameras stay."""
    for place, sample in enumerate(samples):
        Image.new("RGB", (4, 8), (20 * place, 255 - 20 * place, 100)).save(sample.path)


def test_a_result_says_which_training_images_the_attack_knew(experiment, samples):
    run = experiment()
    run.retrieval.training = IMAGES.store(samples[:4])
    cosine, pgd = run.run(image_rows(["cosine:steps=1", "pgd"], [(0, Threat(0.0, 0.1))], 1, 0), reuse=False)
    assert cosine.attack["settings"]["training"] == contents_sha256(samples[:4])
    assert "training" not in pgd.attack["settings"]


def test_a_result_says_what_was_measured_on_what(experiment, samples):
    (result,) = experiment().run([Row("pgd", "image", PGD(eps=4 / 255, steps=2), settings={"steps": 2})], reuse=False)
    assert result.attack == {
        "name": "pgd",
        "kind": "image",
        "noise_type": None,
        "sha256": None,
        "learnt_on": None,
        "settings": {"steps": 2},
        "needs": ["gradients"],
        "met": False,
    }
    query = samples[::3]
    contents = contents_sha256([*query, *(s for s in samples if s not in query)])
    assert result.dataset == {"name": "own", "split": 0, "num_query": 4, "num_gallery": 8, "contents": contents}
    assert result.threat == {"eps_color": 0.0, "eps_delta": 4 / 255, "side": "query"}
    assert result.passes == {"forward": 4 * 4, "backward": 4 * 2}
    assert 0 < result.spent["total"] <= 4 / 255 + 1e-6
    (check,) = result.checks
    assert (check["name"], check["passed"]) == ("budget", True)
    assert "allowed: delta 4/255, query side" in check["detail"]


def test_clean_images_have_no_threat_and_nothing_to_check(experiment):
    (result,) = experiment().run([CLEAN_ROW], reuse=False)
    assert (result.threat, result.spent, result.checks) == ({}, {}, [])
    assert result.attack["kind"] == "clean"


def test_the_side_is_that_of_the_experiment_whatever_the_attack_was_made_for(experiment):
    (result,) = experiment("gallery").run(control_rows([(2, Threat(0.0, 0.1))], 0, 8, 4)[:1], reuse=False)
    assert result.threat["side"] == "gallery"


def test_a_kept_result_is_taken_on_request_only(experiment, tmp_path):
    (first,) = experiment().run([CLEAN_ROW], reuse=False)
    (taken,) = experiment().run([CLEAN_ROW], reuse=True)
    assert taken == first
    (again,) = experiment().run([CLEAN_ROW], reuse=False)
    assert again.seconds != first.seconds
    assert len(read_results(tmp_path / "results")) == 1


def test_a_model_that_behaves_otherwise_than_before_is_named(experiment, caplog):  # RobustBench#104
    list(replace(experiment(), victim=experiment().victim | {"fingerprint": "aa"}).run([CLEAN_ROW], reuse=False))
    list(replace(experiment(), victim=experiment().victim | {"fingerprint": "aa"}).run([CLEAN_ROW], reuse=True))
    assert not caplog.records
    list(replace(experiment(), victim=experiment().victim | {"fingerprint": "bb"}).run([CLEAN_ROW], reuse=True))
    assert "model.pth gave other features when" in caplog.text
    assert "(fingerprint aa, now bb)" in caplog.text


def test_other_images_under_the_same_names_are_measured_and_kept_next_to_the_first(experiment, samples, tmp_path):
    (first,) = experiment().run([CLEAN_ROW], reuse=False)
    spoil(samples)
    (second,) = experiment().run([CLEAN_ROW], reuse=True)
    assert second.metrics["mAP"] != first.metrics["mAP"]
    kept = {result.dataset["contents"]: result.metrics for result in read_results(tmp_path / "results")}
    assert kept == {each.dataset["contents"]: each.metrics for each in (first, second)}


def test_a_row_that_left_its_budget_is_not_written(experiment, tmp_path):
    noise = attacks.create(2, eps_delta=8 / 255, height=8, width=4)
    noise.delta.data.fill_(9 / 255)
    with pytest.raises(ReidError, match="left its budget"):
        list(experiment().run([Row("too much", "universal", noise)], reuse=False))
    assert not list(tmp_path.glob("results/*"))


def test_rankings_of_all_queries_are_judged_by_the_detector(experiment, tmp_path):
    """Where everybody looks alike, everybody is answered by the same images."""
    run = experiment(dataset=people(tmp_path, LEAST))
    white = attacks.create(2, eps_delta=1.0, height=8, width=4)
    white.delta.data.fill_(1.0)
    rows = [CLEAN_ROW, Row("white", "universal", white), Row("some", "universal", white, queries=(0, 1, 2))]
    clean, found, some = (result.detector for result in run.run(rows, reuse=False))
    assert clean["found"] == clean["false_alarms"] == found["false_alarms"] < 0.1
    assert found["found"] == 1
    assert some == {}
    assert [result.detector for result in read_results(run.folder)].count({}) == 1


def test_distortions_are_controls_without_a_budget(experiment):
    results = list(experiment("both").run(DISTORTIONS, reuse=False))
    assert [result.attack["kind"] for result in results] == ["control"] * 3
    assert {result.threat["eps_delta"] for result in results} == {1.0}
    assert results[0].spent["total"] == 0.0
