"""A gallery split among processes gives the numbers of one process, to the last bit."""

import dataclasses

import numpy as np
import pytest
from ranks import together

from reid.errors import ReidError
from reid.evaluation.distances import cosine
from reid.evaluation.ranking import rank
from reid.evaluation.rerank import k_reciprocal
from reid.runtime import distributed

SIZE = 2
OPTIONS = [{}, {"chunk": 7}, {"cuhk03_repeats": 5, "cuhk03_seed": 1}, {"distances": cosine, "topk": 10}]


def problem(whole_numbers):
    """Queries, gallery, and ids; whole numbers tie often, also across the border between two parts."""
    generator = np.random.default_rng(0)
    features = [generator.normal(scale=2, size=(count, 6)).astype(np.float32) for count in (40, 301)]
    if whole_numbers:
        features = [side.round() for side in features]
    return *features, *(generator.integers(low, high, n) for low, high in ((-1, 20), (0, 4)) for n in (40, 301))


def part(query, gallery, query_pids, gallery_pids, query_camids, gallery_camids):
    """What this process has of a problem; the parts differ in length."""
    mine = slice(None) if distributed.size() == 1 else slice(distributed.rank() * 120, 120 + distributed.rank() * 181)
    return query, gallery[mine], query_pids, gallery_pids[mine], query_camids, gallery_camids[mine]


def rankings():
    problems = [part(*problem(whole_numbers)) for whole_numbers in (True, False)]
    return [dataclasses.asdict(rank(*p, **options, sharded=True)) for p in problems for options in OPTIONS]


def reranked():
    with pytest.raises(ReidError, match="needs the whole gallery"):
        rank(*part(*problem(True)), distances=k_reciprocal(), sharded=True)


@pytest.fixture(scope="module")
def of_several(tmp_path_factory):
    return [results[0] for results in together(SIZE, [rankings, reranked], tmp_path_factory.mktemp("sharded"))]


@pytest.mark.parametrize("number", range(SIZE))
@pytest.mark.parametrize("case", range(2 * len(OPTIONS)))
def test_every_process_finds_what_one_process_finds(of_several, case, number):
    alone = rank(*problem(case < len(OPTIONS)), **OPTIONS[case % len(OPTIONS)])
    for name, value in dataclasses.asdict(alone).items():
        np.testing.assert_equal(of_several[number][case][name], value, err_msg=name)


def test_one_process_may_ask_for_its_share_too():
    np.testing.assert_equal(rankings()[0], dataclasses.asdict(rank(*problem(True))))
