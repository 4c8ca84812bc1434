"""What users of re-ID scores met in public trackers (repository#issue): none of it may happen here in silence."""

import logging

import numpy as np
import pytest
import torch
from people import network, people, source

from reid import ReidError, UsageError
from reid.evaluation import rank
from reid.evaluation.detective import examine
from reid.evaluation.distances import BEYOND, cosine, squared_euclidean
from reid.evaluation.ranking import rank_list
from reid.models.inputs import preprocessing
from reid.runtime.device import resolve


def problem(seed=0):
    random = np.random.default_rng(seed)
    features = [random.normal(size=(count, 8)).astype(np.float32) for count in (12, 60)]
    return [*features, *(random.integers(0, high, count) for high in (6, 3) for count in (12, 60))]


TYPES = {
    **{name: getattr(np, name) for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64")},
    "object": object,
}


@pytest.mark.parametrize("kind", [*TYPES, "torch ints", "list", "list of torch ints", "torch int16"])
def test_ids_of_any_integers_give_the_same_scores(kind):  # torchreid#391
    query, gallery, *ids = problem()

    def cast(values):
        if kind in TYPES:
            return values.astype(TYPES[kind])
        if "torch" in kind:
            tensor = torch.from_numpy(values).to(torch.int16 if kind == "torch int16" else torch.int64)
            return list(tensor) if kind == "list of torch ints" else tensor
        return values.tolist()

    expected, actual = rank(query, gallery, *ids), rank(query, gallery, *map(cast, ids))
    assert (actual.mAP, actual.mINP) == (expected.mAP, expected.mINP)
    assert np.array_equal(actual.cmc["market1501"], expected.cmc["market1501"])


@pytest.mark.parametrize("wrong", [[1.5] * 12, ["0001"] * 12, [None] * 12, np.array([1, 2.5] * 6, dtype=object)])
def test_ids_that_are_no_integers_are_refused(wrong):
    query, gallery, _, *ids = problem()
    with pytest.raises(ReidError, match="give one integer pid and one integer camid for each image"):
        rank(query, gallery, np.asarray(wrong), *ids)


def test_zero_vectors_are_ranked_last_and_counted(caplog):  # ultralytics' tracker writes them for small crops
    query, gallery, *ids = problem()
    gallery[[0, 7]] = 0
    first = rank_list(query, gallery, *ids, count=60, distances=cosine)
    left = [places[places >= 0].tolist() for places in first.places]
    for places, distances in zip(left, first.distances, strict=True):
        empty = [place for place in places if place in (0, 7)]
        assert places[len(places) - len(empty) :] == sorted(empty)
        assert np.allclose(distances[len(places) - len(empty) : len(places)], BEYOND)
    assert "2 features of the gallery and 0 of the queries are zero vectors: ranked last" in caplog.text


def test_a_query_that_is_a_zero_vector_finds_the_gallery_in_its_order(caplog):
    query, gallery, *ids = problem()
    query[3] = 0
    (places,) = rank_list(query, gallery, *ids, count=60, distances=cosine).places[3:4]
    assert places[places >= 0].tolist() == sorted(places[places >= 0].tolist())
    ranking = rank(query, gallery, *ids, distances=cosine)
    assert np.isfinite(ranking.mAP)
    assert "0 features of the gallery and 1 of the queries" in caplog.text


def test_without_zero_vectors_cosine_is_that_of_normalised_features(caplog):
    query, gallery, *ids = problem()
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query, gallery)]
    for scale in (1, 1e25, 1e-30):
        ranking = rank(scale * query, scale * gallery, *ids, distances=cosine)
        np.testing.assert_allclose(ranking.average_precision, rank(*unit, *ids).average_precision, atol=1e-9)
    assert not caplog.records


def test_opposite_directions_come_before_zero_vectors():
    query = np.array([[1, 0]], dtype=np.float32)
    gallery = np.array([[0, 0], [-1, 0], [0, 1], [1, 0]], dtype=np.float32)
    ids = ([1], [1, 1, 1, 1], [0], [1, 1, 1, 1])
    found = rank_list(query, gallery, *map(np.array, ids), count=4, distances=cosine)
    assert found.places.tolist() == [[3, 2, 1, 0]]
    assert np.allclose(found.distances, [[0, 2, 4, 5]])
    assert rank_list(query, gallery, *map(np.array, ids), count=4, distances=squared_euclidean).places[0, 1] == 0


@pytest.mark.parametrize("distances", [cosine, squared_euclidean])
def test_nan_features_are_counted_and_named(distances):
    query, gallery, *ids = problem()
    gallery[[1, 2], 3] = np.nan
    with pytest.raises(ReidError, match="2 of 60 gallery features hold NaN or infinite values"):
        rank(query, gallery, *ids, distances=distances)


def test_one_camera_is_refused_and_not_scored_as_itself(tmp_path):  # layumi#325
    crowd = people(tmp_path, count=6, cameras=1)
    reading = preprocessing("half", 24, 12)
    with pytest.raises(UsageError, match=r"nobody .* under two cameras, so they cannot tell readings apart"):
        examine(source(network(reading), reading), crowd, resolve("cpu", "fp32"), workers=0)
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    ids = np.arange(6), np.arange(6), np.zeros(6, int), np.zeros(6, int)
    with pytest.raises(ReidError, match="match"):
        rank(features, features, *ids)


@pytest.mark.parametrize("reversed_inside", [True, False])
def test_an_order_that_is_reversed_inside_or_not_is_found_by_trying(reversed_inside, tmp_path, caplog):
    # open_model_zoo#633, torchreid#523
    reading = "255-bgr" if reversed_inside else "255"
    with caplog.at_level(logging.INFO):
        crowd = people(tmp_path)
        graph = source(network(preprocessing(reading, 24, 12)))
        findings, verdict = examine(graph, crowd, resolve("cpu", "fp32"), size=(24, 12), workers=0)
    scores = {each.name: each.mAP for each in findings}
    assert (verdict.chosen, verdict.clear) == (reading, True)
    assert scores[reading] > 0.9 > 0.5 > scores["255" if reversed_inside else "255-bgr"]
