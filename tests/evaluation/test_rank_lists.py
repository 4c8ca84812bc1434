"""Who comes first for each query: the order that is scored, as a file, unknown people too."""

import dataclasses
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from literal_ranking import literal_distances
from ranks import together
from test_sharded_ranking import part, problem

from reid import attacks
from reid.attacks import Threat
from reid.datasets import Dataset, Release, Sample
from reid.errors import DatasetError, ReidError, UsageError
from reid.evaluation.distances import cosine
from reid.evaluation.experiment import Experiment
from reid.evaluation.protocol import Protocol
from reid.evaluation.ranking import rank, rank_list
from reid.evaluation.ranklists import RankLists, listed_samples
from reid.evaluation.rerank import k_reciprocal
from reid.evaluation.results import read_results
from reid.evaluation.retrieval import Retrieval
from reid.evaluation.rows import CLEAN_ROW, Row
from reid.loading import Images
from reid.models import Victim
from reid.runtime.device import resolve

CPU = resolve("cpu", "fp32")
IMAGES = Images(8, 4, workers=1)


def literal_lists(query, gallery, query_pids, gallery_pids, query_camids, gallery_camids):
    """For each query all counted positions, by distance and then by position, and their distances."""
    for row, pid, camid in zip(literal_distances(query, gallery), query_pids, query_camids, strict=True):
        kept = [j for j in range(len(row)) if gallery_pids[j] != -1]
        kept = [j for j in kept if not (gallery_pids[j] == pid and gallery_camids[j] == camid)]
        kept.sort(key=lambda j: row[j])
        yield kept, [row[j] for j in kept]


@pytest.mark.parametrize("count", [1, 10, 301, 1000])
@pytest.mark.parametrize("chunk", [None, 7])
def test_a_list_is_the_literal_one_ties_included(count, chunk):
    """Whole numbers tie often; queries of pid -1 are among them."""
    given = problem(whole_numbers=True)
    assert (given[2] == -1).any()
    lists = rank_list(*given, count=count, chunk=chunk)
    for places, distances, (kept, expected) in zip(*lists, literal_lists(*given), strict=True):
        length = min(count, len(kept))
        assert places[:length].tolist() == kept[:count]
        assert set(places[length:]) <= {-1}
        np.testing.assert_allclose(distances[:length], expected[:count], atol=1e-3)


@pytest.mark.parametrize("source", [None, cosine, k_reciprocal()])
def test_the_order_is_the_one_that_is_scored(source):
    given, options = problem(whole_numbers=False), {"distances": source} if source else {}
    ranking, lists = rank(*given, **options), rank_list(*given, count=301, **options)
    for query, first in zip(ranking.valid_queries, ranking.first_match_rank, strict=True):
        hits = given[3][lists.places[query]] == given[2][query]
        assert np.flatnonzero(hits & (lists.places[query] >= 0))[0] + 1 == first
    counted = lists.places >= 0
    assert all((np.diff(row[keep]) >= 0).all() for row, keep in zip(lists.distances, counted, strict=True))


def of_the_parts(whole_numbers):
    given = part(*problem(whole_numbers))
    return [tuple(rank_list(*given, count=count, sharded=True)) for count in (3, 200)]


@pytest.mark.parametrize("whole_numbers", [True, False])
def test_a_gallery_split_among_processes_gives_the_same_lists(whole_numbers, tmp_path):
    expected = [rank_list(*problem(whole_numbers), count=count) for count in (3, 200)]
    for (lists,) in together(2, [partial(of_the_parts, whole_numbers)], tmp_path):
        for (places, distances), alone in zip(lists, expected, strict=True):
            assert np.array_equal(places, alone.places)
            assert np.array_equal(distances, alone.distances)


def test_features_that_cannot_be_ranked_are_refused():
    query, gallery, *ids = problem(whole_numbers=True)
    with pytest.raises(ReidError, match="query features have length 5, gallery features 6"):
        rank_list(query[:, 1:], gallery, *ids, count=3)


# The file


@pytest.fixture
def dataset(draw):
    """Four queries, one of whom nobody knows, and eight gallery images; files are named below the folder of images."""
    samples = draw(8, 4)
    folder = Path(samples[0].path).parent
    unknown = [dataclasses.replace(samples[0], pid=-1)]
    splits = {"trainval": [], "query": samples[3::3], "gallery": [s for s in samples if s not in samples[::3]]}
    return Dataset("own", folder, splits | {"unknown": unknown}, 3, Release("own"))


def mean_colours(images):
    return images.mean((2, 3))


@pytest.fixture
def run(tmp_path):
    """`run(dataset, rows)`: the results, and the file of rank lists, which is left out where `path` is None."""
    return partial(measure, folder=tmp_path / "results", path=tmp_path / "lists.json")


def measure(dataset, rows, side="query", *, folder, path, reuse=False):
    retrieval = Retrieval(Victim(mean_colours), IMAGES.stores(listed_samples(dataset)), CPU, batch_size=3)
    unknown = IMAGES.store(dataset.unknown)
    experiment = Experiment(
        retrieval,
        dataset,
        victim={"path": "model.pth", "arch": "mean", "sha256": "ab" * 32},
        settings=Protocol().settings("euclidean", IMAGES, CPU),
        side=side,
        seed=0,
        command="evaluate.py",
        folder=folder,
        lists=path and RankLists(path, 3, dataset, retrieval, unknown, folder),
    )
    return list(experiment.run(rows, reuse)), path and json.loads(path.read_text())


def attacked(sha256, eps=64, seed=1):
    return Row("noise.pth", "universal", attacks.controls.random_lut(Threat(eps / 255, 0.0), seed), sha256)


def literal_rows(dataset, attack, side):
    """File -> the first files, their distances and matches, one query at a time."""
    retrieval = Retrieval(Victim(mean_colours), IMAGES.stores((dataset.query, dataset.gallery)), CPU)
    gallery = retrieval.features(retrieval.gallery, attack, side).features.numpy()
    lists = {}
    for sample in [*dataset.query, *dataset.unknown]:
        own = retrieval.features(IMAGES.store([sample]), attack, side).features.numpy()
        ids = [[sample.pid], [s.pid for s in dataset.gallery], [sample.camid], [s.camid for s in dataset.gallery]]
        ((kept, distances),) = literal_lists(own, gallery, *ids)
        found = [dataset.gallery[j] for j in kept[:3]]
        matches = [None if sample.pid < 0 else each.pid == sample.pid for each in found]
        names = [os.path.basename(each.path) for each in found]
        lists[os.path.basename(sample.path)] = names, pytest.approx(distances[:3], abs=1e-5), matches
    return lists


@pytest.mark.parametrize("side", ["query", "gallery", "both"])
def test_each_row_lists_each_query_unknown_people_without_a_score(side, dataset, run):
    row = attacked("cd" * 32)
    results, content = run(dataset, [CLEAN_ROW, row], side)
    assert {key: content[key] for key in ("schema_version", "topk")} == {"schema_version": 1, "topk": 3}
    assert content["protocol"]["same_camera"] == "dropped"
    assert "the pid and the camera of the query, and junk" in content["left_out"]
    assert content["dataset"]["num_query"] == 3
    assert [*content["rows"]] == ["clean", "noise.pth"]
    for (name, listed), attack, result in zip(content["rows"].items(), (None, row.attack), results, strict=True):
        assert listed["attack"]["name"] == name
        assert listed["result"] == result.file_name
        assert listed["threat"] == result.threat
        found = {
            each["file"]: tuple([image[key] for image in each["gallery"]] for key in ("file", "distance", "match"))
            for each in listed["queries"]
        }
        assert found == literal_rows(dataset, attack, side)
        assert [(each["pid"], each["camid"]) for each in listed["queries"]] == [(1, 0), (2, 0), (3, 0), (-1, 0)]
    clean, noisy = (listed["queries"] for listed in content["rows"].values())
    assert clean != noisy


def test_results_are_what_they_are_without_lists(dataset, run, tmp_path):
    rows = [CLEAN_ROW, attacked("cd" * 32)]
    with_lists, _ = run(dataset, rows)
    without, _ = run(dataset, rows, path=None, folder=tmp_path / "other")
    for one, other in zip(with_lists, without, strict=True):
        assert one.file_name == other.file_name
        assert (one.metrics, one.spent, one.passes) == (other.metrics, other.spent, other.passes)


def test_all_rows_are_ranked_again_even_where_their_results_are_reused(dataset, run):
    _, first = run(dataset, [CLEAN_ROW])
    _, content = run(dataset, [CLEAN_ROW, attacked("cd" * 32)], reuse=True)
    assert [*content["rows"]] == ["clean", "noise.pth"]
    assert content["rows"]["clean"] == first["rows"]["clean"]


def test_two_attacks_of_one_name_are_told_apart(dataset, run):
    _, content = run(dataset, [attacked("aaaaaaaaaaaa"), attacked("bbbbbbbbbbbb", seed=2)])
    first, second = content["rows"]
    assert first == "noise.pth"
    assert second == f"noise.pth {Path(content['rows'][second]['result']).stem[-8:]}"


def test_where_nobody_is_known_there_are_lists_and_no_results(dataset, run, tmp_path):
    dataset.unknown += [dataclasses.replace(sample, pid=-1) for sample in dataset.query]
    dataset.query = []
    results, content = run(dataset, [CLEAN_ROW, attacked("cd" * 32)])
    assert results == []
    assert not (tmp_path / "results").exists()
    for listed, attack in zip(content["rows"].values(), (None, attacked("").attack), strict=True):
        assert listed["result"] is None
        assert [each["pid"] for each in listed["queries"]] == [-1] * 4
        found = {each["file"]: [image["file"] for image in each["gallery"]] for each in listed["queries"]}
        assert found == {name: files for name, (files, *_) in literal_rows(dataset, attack, "query").items()}


def test_there_need_be_a_gallery(dataset):
    dataset.gallery = []
    with pytest.raises(DatasetError):
        listed_samples(dataset)


def test_a_short_gallery_is_listed_to_its_end(dataset, run):
    dataset.gallery = dataset.gallery[4:6]
    dataset.query = dataset.query[1:2]
    _, content = run(dataset, [CLEAN_ROW])
    assert [len(each["gallery"]) for each in content["rows"]["clean"]["queries"]] == [2, 2]


@pytest.mark.parametrize("name", ["lists.txt", "folder.json", "results/lists.json"])
def test_a_path_that_cannot_hold_lists_is_refused(name, dataset, run, tmp_path):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UsageError, match=f"--rank-list .*{name}"):
        run(dataset, [CLEAN_ROW], path=tmp_path / name)
    assert not (tmp_path / "results").exists()


def test_names_that_are_not_utf_8_survive(dataset, run):
    name = os.fsdecode(b"caf\xe9.png")
    first = dataset.query[0]
    dataset.query[0] = Sample(os.path.join(dataset.images_dir, name), first.pid, first.camid)
    os.rename(first.path, dataset.query[0].path)
    _, content = run(dataset, [CLEAN_ROW])
    assert os.fsencode(content["rows"]["clean"]["queries"][0]["file"]) == b"caf\xe9.png"


def test_the_folder_of_results_can_still_be_read(dataset, run, tmp_path):
    run(dataset, [CLEAN_ROW])
    assert len(read_results(tmp_path / "results")) == 1


def test_several_processes_write_the_file_of_one(dataset, tmp_path):
    rows = [CLEAN_ROW, attacked("cd" * 32)]
    _, alone = measure(dataset, rows, "both", folder=tmp_path / "alone", path=tmp_path / "alone.json")
    several = partial(measure, dataset, rows, "both", folder=tmp_path / "both", path=tmp_path / "both.json")
    for ((_, content),) in together(2, [several], tmp_path):
        assert content == alone
