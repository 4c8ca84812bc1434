"""The cuhk03 protocol: galleries drawn against every gallery that there is."""

import numpy as np
import torch
from literal_ranking import literal_single_shot

from reid.evaluation.distances import Distances
from reid.evaluation.ranking import rank


def curve(distances, *ids, repeats=10, seed=0, **options):
    features = [np.zeros((len(side), 1)) for side in ids[:2]]
    options["distances"] = lambda *_: Distances(torch.from_numpy(distances).__getitem__)
    return rank(*features, *ids, cuhk03_repeats=repeats, cuhk03_seed=seed, **options).cmc["cuhk03"]


def crowd(identities, images, seed=0, num_query=12):
    """Every identity with up to `images` images, three cameras; closer images of the query's identity, but not much."""
    generator = np.random.default_rng(seed)
    gallery_pids = np.repeat(np.arange(identities), generator.integers(1, images + 1, identities))
    query_pids = generator.integers(0, identities, num_query)
    distances = generator.random((num_query, len(gallery_pids)), dtype=np.float32)
    distances[query_pids[:, None] == gallery_pids] *= 0.8
    distances[:, ::4] = 0.4  # ties
    gallery_pids[::7] = -1
    camids = [generator.integers(0, 3, len(pids)) for pids in (query_pids, gallery_pids)]
    return distances, query_pids, gallery_pids, *camids


def test_drawn_galleries_come_close_to_the_mean_over_all_galleries():
    problem = crowd(7, 4)
    expected = literal_single_shot(*problem, topk=7)
    drawn = curve(*problem, repeats=4000, topk=7)
    assert 0.1 < expected[0] < expected[2] < 0.99
    np.testing.assert_allclose(drawn, expected, atol=0.01)  # some five standard deviations


def test_drawn_galleries_depend_on_the_seed_and_on_nothing_else():
    problem = crowd(30, 6)
    first = curve(*problem, seed=3)
    np.random.seed(1)
    torch.manual_seed(1)
    np.testing.assert_array_equal(curve(*problem, seed=3), first)
    assert (curve(*problem, seed=4) != first).any()
    np.testing.assert_allclose(curve(*problem, seed=3, chunk=5), first, atol=1e-12)


def test_a_query_from_a_camera_that_the_gallery_lacks():
    distances, query_pids, gallery_pids, query_camids, gallery_camids = crowd(7, 4)
    problem = distances, query_pids, gallery_pids, query_camids + 9, gallery_camids
    np.testing.assert_allclose(curve(*problem, repeats=2000, topk=7), literal_single_shot(*problem, topk=7), atol=0.02)


def test_a_hopeless_match_counts_nothing_and_a_sure_one_fully():
    gallery_pids = np.arange(400)
    distances = np.arange(400, dtype=np.float32)[None]
    camids = np.zeros(1, int), np.ones(400, int)
    np.testing.assert_array_equal(curve(distances, np.array([399]), gallery_pids, *camids), 0)
    np.testing.assert_allclose(curve(distances, np.array([0]), gallery_pids, *camids), 1)
