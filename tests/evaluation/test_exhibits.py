"""Exhibits: pictures of what was scored, of queries that nobody picked."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid import attacks
from reid.datasets import Dataset, Release
from reid.errors import ReidError
from reid.evaluation.exhibits import CONTENT, Exhibit, evenly, path_of, read_exhibit, zipped
from reid.evaluation.experiment import Experiment
from reid.evaluation.protocol import Protocol
from reid.evaluation.results import per_query
from reid.evaluation.retrieval import Retrieval
from reid.evaluation.rows import CLEAN_ROW, Row
from reid.loading import Images
from reid.models import Victim
from reid.runtime.device import resolve

CPU = resolve("cpu", "fp32")
IMAGES = Images(8, 4, workers=1)


@pytest.fixture
def experiment(draw, tmp_path):
    samples = draw(8, 4)
    query, gallery = samples[::3], [sample for sample in samples if sample not in samples[::3]]
    return Experiment(
        Retrieval(Victim(lambda images: images.mean((2, 3))), IMAGES.stores((query, gallery)), CPU, batch_size=3),
        Dataset("own", tmp_path, {"trainval": [], "query": query, "gallery": gallery}, 3, Release("own")),
        victim={"path": "model.pth", "arch": "mean", "sha256": "ab" * 32},
        settings=Protocol().settings("euclidean", IMAGES, CPU),
        side="query",
        seed=0,
        command="evaluate.py",
        folder=tmp_path / "results",
    )


def shown(experiment, row):
    (result,) = experiment.run([row], reuse=False)
    return result, read_exhibit(experiment.folder, result)


def noise():
    made = attacks.create(0, 0.2, 0.1, height=8, width=4)
    return made.randomise_(torch.Generator().manual_seed(0), corners=True)


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def test_clean_images_have_a_picture_of_each_query(experiment):
    _, exhibit = shown(experiment, CLEAN_ROW)
    query = experiment.retrieval.query
    assert [each["file"] for each in exhibit.content["people"]] == [Path(s.path).name for s in query.samples]
    assert [each["pid"] for each in exhibit.content["people"]] == [0, 1, 2, 3]
    assert pixels(exhibit.files["person-0.jpg"]).shape == (8, 4, 3)


def test_an_attack_has_images_before_and_after(experiment):
    attack = noise()
    _, exhibit = shown(experiment, Row("noise", "universal", attack))
    query = experiment.retrieval.query
    assert [pair["place"] for pair in exhibit.content["pairs"]] == [0, 1, 2, 3]
    images = query.batch([2]) / 255
    after = (255 * attack(images)[0]).permute(1, 2, 0).detach().numpy()
    assert np.abs(pixels(exhibit.files["query-2-after.jpg"]) - after).mean() < 8  # JPEG of noise
    assert np.abs(pixels(exhibit.files["query-2-before.jpg"]) - 255 * images[0].permute(1, 2, 0).numpy()).mean() < 8
    assert exhibit.content["perturbation"].keys() == {"colours", "delta"}
    assert pixels(exhibit.files["colours.jpg"]).shape == (3 * 2 * 25, 3 * 5 * 25, 3)


def test_ranked_lists_are_those_that_were_scored(experiment):
    attack = noise()
    _, exhibit = shown(experiment, Row("noise", "universal", attack))
    retrieval = experiment.retrieval
    gallery = retrieval.gallery.samples
    for which, features in (("clean", retrieval.clean), ("attacked", retrieval.score(attack).features)):
        expected = retrieval.rank_list(retrieval.query, *features, 8).places
        for query, places in zip(exhibit.content["queries"], expected, strict=True):
            names = [f"gallery-{place}.jpg" for place in places if place >= 0]
            assert [answer["image"] for answer in query[which]] == names
            matches = [gallery[place].pid == query["pid"] for place in places if place >= 0]
            assert [answer["match"] for answer in query[which]] == matches


def test_of_some_queries_the_places_are_those_among_all(experiment):
    result, exhibit = shown(experiment, Row("noise", "universal", noise(), queries=(1, 3)))
    assert [query["place"] for query in exhibit.content["queries"]] == [1, 3]
    assert [pair["place"] for pair in exhibit.content["pairs"]] == [1, 3]
    assert list(per_query(experiment.folder, result)["pids"]) == [1, 3]


def test_of_the_gallery_the_first_answers_are_shown(experiment):
    _, exhibit = shown(experiment, Row("noise", "universal", noise(), side="gallery"))
    retrieval = experiment.retrieval
    first = retrieval.rank_list(retrieval.query, *retrieval.clean, 1).places[:, 0]
    assert [(pair["side"], pair["place"]) for pair in exhibit.content["pairs"]] == [
        ("gallery", place) for place in sorted(set(first.tolist()))
    ]
    _, exhibit = shown(experiment, Row("noise", "universal", noise(), side="both"))
    assert [pair["side"] for pair in exhibit.content["pairs"]].count("query") == 4


def test_queries_are_evenly_spaced():
    assert evenly(200, 4) == [24, 74, 124, 174]
    assert evenly(3, 4) == [0, 1, 2]
    assert evenly(0, 4) == []


def test_the_same_result_has_the_same_bytes(experiment):
    result, _ = shown(experiment, CLEAN_ROW)
    first = path_of(experiment.folder, result).read_bytes()
    shown(experiment, CLEAN_ROW)
    assert path_of(experiment.folder, result).read_bytes() == first


def test_nothing_is_kept_that_is_not_shown(experiment):
    exhibit = Exhibit(experiment.retrieval, experiment.dataset)
    score = experiment.retrieval.score(noise(), "query", exhibit.keep)
    assert (len(score.kept[0]), len(score.kept[1])) == (4, 0)
    assert experiment.retrieval.score(noise()).kept == ({}, {})


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", zipped({"a": b""}), zipped({CONTENT: b"{"}), zipped({CONTENT: b"{}"})[:40]],
)
def test_a_damaged_file_is_one_line(experiment, content):
    result, _ = shown(experiment, CLEAN_ROW)
    path_of(experiment.folder, result).write_bytes(content)
    with pytest.raises(ReidError, match=r"\.zip is no exhibit of a result"):
        read_exhibit(experiment.folder, result)


def test_a_file_that_unpacks_to_gigabytes_is_refused(experiment):
    result, _ = shown(experiment, CLEAN_ROW)
    path = path_of(experiment.folder, result)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CONTENT, json.dumps({"people": []}))
        archive.writestr("a.jpg", bytes(2**26))
    with pytest.raises(ReidError, match="bytes once unpacked"):
        read_exhibit(experiment.folder, result)


def test_results_from_before_have_none(experiment):
    result, _ = shown(experiment, CLEAN_ROW)
    path_of(experiment.folder, result).unlink()
    assert read_exhibit(experiment.folder, result) is None
