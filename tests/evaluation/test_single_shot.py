"""The cuhk03 protocol: its expectation against every gallery that there is, and against drawn ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_ranking import literal_single_shot

from reid.evaluation.ranking import rank_distances


@st.composite
def problems(draw):
    """Distances and ids of few images, so that all single-shot galleries can be listed."""
    num_query, num_gallery = draw(st.integers(1, 3)), draw(st.integers(1, 10))

    def whole(count, low, high):
        return np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)))

    distances = whole(num_query * num_gallery, 0, 12).reshape(num_query, num_gallery).astype(np.float32)
    ids = [whole(n, -1, high) for high in (4, 2) for n in (num_query, num_gallery)]
    return distances, *ids


def curve(distances, *ids, **options):
    return rank_distances([torch.from_numpy(distances)], *ids, **options).cmc["cuhk03"]


def has_match(_, query_pids, gallery_pids, query_camids, gallery_camids):
    same = (query_pids[:, None] == gallery_pids) & (query_camids[:, None] != gallery_camids)
    return (same & (query_pids[:, None] != -1)).any()


@settings(max_examples=150, deadline=None)
@given(problem=problems().filter(lambda problem: has_match(*problem)), topk=st.integers(1, 8))
def test_equals_the_mean_over_all_galleries(problem, topk):
    # With topk well below the number of identities the curve is found on fewer points than there are places.
    np.testing.assert_allclose(curve(*problem, topk=topk), literal_single_shot(*problem, topk=topk), atol=1e-9)


def crowd(identities, images, seed=0, num_query=12):
    """Every identity with up to `images` images, four cameras; closer images of the query's identity, but not much."""
    generator = np.random.default_rng(seed)
    gallery_pids = np.repeat(np.arange(identities), generator.integers(1, images + 1, identities))
    query_pids = generator.integers(0, identities, num_query)
    distances = generator.random((num_query, len(gallery_pids)), dtype=np.float32)
    distances[query_pids[:, None] == gallery_pids] *= 0.3
    camids = [generator.integers(0, 4, len(pids)) for pids in (query_pids, gallery_pids)]
    return distances, query_pids, gallery_pids, *camids


def convolved(distances, query_pids, gallery_pids, query_camids, gallery_camids, topk):
    """The expectation by multiplying out the identities one by one, for distances without ties."""
    curves = []
    for row, pid, camid in zip(distances, query_pids, query_camids, strict=True):
        other = gallery_camids != camid
        matches = row[other & (gallery_pids == pid)]
        found = []
        for match in matches:
            places = np.array([1.0])
            for identity in set(gallery_pids[other]) - {pid}:
                closer = (row[other & (gallery_pids == identity)] < match).mean()
                places = np.convolve(places, [1 - closer, closer])
            found.append(np.pad(places, (0, topk))[:topk])
        if found:
            curves.append(np.mean(found, axis=0).cumsum())
    return np.mean(curves, axis=0)


@pytest.mark.parametrize(
    ("identities", "images", "topk"),
    [(150, 8, 100), (150, 8, 5), (400, 3, 100), (8, 120, 10)],
    ids=["a point per place", "few points", "many identities", "many images each"],
)
def test_equals_the_product_over_identities(identities, images, topk):
    problem = crowd(identities, images)
    np.testing.assert_allclose(curve(*problem, topk=topk), convolved(*problem, topk=topk), atol=4e-9)


def test_drawn_galleries_come_close_to_the_expectation():
    problem = crowd(30, 6)
    expected = curve(*problem)
    drawn = np.array([curve(*problem, cuhk03_repeats=10, cuhk03_seed=seed) for seed in range(60)])
    error = np.sqrt(expected * (1 - expected).clip(0) / (60 * 10 * 11))  # 11 queries with a match
    assert (error[:5] > 0.002).all()
    assert (np.abs(drawn.mean(axis=0) - expected) <= 4 * error + 1e-12).all()


def test_drawn_galleries_depend_on_the_seed_and_on_nothing_else():
    problem = crowd(30, 6)
    first = curve(*problem, cuhk03_repeats=10, cuhk03_seed=3)
    np.random.seed(1)
    torch.manual_seed(1)
    np.testing.assert_array_equal(curve(*problem, cuhk03_repeats=10, cuhk03_seed=3), first)
    assert (curve(*problem, cuhk03_repeats=10, cuhk03_seed=4) != first).any()
    distances, *ids = problem
    split = rank_distances(torch.from_numpy(distances).split(5), *ids, cuhk03_repeats=10, cuhk03_seed=3)
    np.testing.assert_allclose(split.cmc["cuhk03"], first, atol=1e-12)


def test_a_hopeless_match_counts_nothing_and_a_sure_one_fully():
    gallery_pids = np.arange(400)
    distances = np.arange(400, dtype=np.float32)[None]
    camids = np.zeros(1, int), np.ones(400, int)
    np.testing.assert_allclose(curve(distances, np.array([399]), gallery_pids, *camids), 0, atol=4e-9)
    np.testing.assert_allclose(curve(distances, np.array([0]), gallery_pids, *camids), 1, atol=4e-9)
