import numpy as np
import pytest
import torch

from reid.errors import ReidError
from reid.evaluation.distances import squared_euclidean
from reid.evaluation.ranking import rank
from reid.evaluation.rerank import k_reciprocal


def dense_reranking(query, gallery, k1, k2, weight):
    """The paper, literally: dense float64 matrices over all images and Python sets."""
    images = np.concatenate([query, gallery]).astype(np.float64)
    number = len(images)
    distances = ((images[:, None] - images[None]) ** 2).sum(axis=2)
    scaled = distances / distances.max(axis=1, keepdims=True)
    np.fill_diagonal(distances, -1)
    order = distances.argsort(axis=1, kind="stable")

    def mutual(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    codes = np.zeros((number, number))
    for i in range(number):
        members = mutual(i, k1)
        expanded = set(members)
        for candidate in members:
            others = mutual(candidate, round(k1 / 2))
            if len(others & members) > 2 / 3 * len(others):
                expanded |= others
        for j in expanded:
            codes[i, j] = np.exp(-scaled[i, j])
        codes[i] /= codes[i].sum()
    if k2 > 1:
        codes = np.stack([codes[order[i, :k2]].mean(axis=0) for i in range(number)])
    q, g = codes[: len(query), None], codes[None, len(query) :]
    jaccard = 1 - np.minimum(q, g).sum(axis=2) / np.maximum(q, g).sum(axis=2)
    return (1 - weight) * jaccard + weight * scaled[: len(query), len(query) :]


def clustered(num_query=9, num_gallery=41, seed=0):
    """Features around ten centres, and their ids."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(10, 6))
    pids = [generator.integers(0, 10, count) for count in (num_query, num_gallery)]
    features = [(centres[p] + 0.7 * generator.normal(size=(len(p), 6))).astype(np.float32) for p in pids]
    camids = [generator.integers(0, 3, count) for count in (num_query, num_gallery)]
    return features, pids, camids


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (5, 1, 0.3), (3, 3, 0.0), (1, 2, 1.0), (60, 60, 0.5)])
@pytest.mark.parametrize("chunk", [4, 100])
def test_equals_the_dense_form(k1, k2, weight, chunk):
    query, gallery = clustered()[0]
    distances = k_reciprocal(k1, k2, weight)(torch.from_numpy(query), torch.from_numpy(gallery), False)
    blocks = [distances.rows(slice(start, start + chunk)) for start in range(0, len(query), chunk)]
    assert all(block.dtype == torch.float32 for block in blocks)
    expected = dense_reranking(query, gallery, k1, k2, weight)
    np.testing.assert_allclose(torch.cat(blocks).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_dense_form_where_distances_tie(seed):
    generator = np.random.default_rng(seed)
    query, gallery = (generator.integers(0, 3, (count, 3)).astype(np.float32) for count in (6, 30))
    block = k_reciprocal(6, 3)(torch.from_numpy(query), torch.from_numpy(gallery), False).rows(slice(None))
    np.testing.assert_allclose(block.numpy(), dense_reranking(query, gallery, 6, 3, 0.3), atol=1e-5)


def test_collapsed_features_leave_every_image_equally_far():
    query, gallery = torch.ones(3, 4), torch.ones(8, 4)
    distances = k_reciprocal()(query, gallery, False)
    block = distances.rows(slice(None))
    torch.testing.assert_close(block, block[0, 0].expand_as(block))
    assert distances.collapsed


def test_clustered_features_rank_better_than_without():
    features, pids, camids = clustered(num_query=60, num_gallery=300)
    plain = rank(*features, *pids, *camids)
    better = rank(*features, *pids, *camids, distances=k_reciprocal())
    assert better.mAP > plain.mAP + 0.02
    assert better.num_valid == plain.num_valid


def test_weight_one_ranks_as_without():
    features, pids, camids = clustered()
    plain = rank(*features, *pids, *camids, distances=squared_euclidean)
    same = rank(*features, *pids, *camids, distances=k_reciprocal(weight=1))
    np.testing.assert_allclose(same.average_precision, plain.average_precision)


@pytest.mark.parametrize("settings", [{"k1": 0}, {"k2": 0}, {"weight": 1.5}])
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(ReidError, match="re-ranking"):
        k_reciprocal(**settings)
