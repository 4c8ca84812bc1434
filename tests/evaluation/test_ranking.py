import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerator import DEVICE, accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_ranking import literal_distances, literal_ranking

from reid.errors import ReidError
from reid.evaluation.distances import Distances, cosine, ordered_keys, squared_euclidean
from reid.evaluation.ranking import rank
from reid.evaluation.scores import chance_average_precision


def matrix(distances):
    """A distance for each query (row) and gallery image."""
    return Distances(torch.as_tensor(distances, dtype=torch.float32).__getitem__)


def rank_distances(distances, *ids, **options):
    features = [np.zeros((len(side), 1)) for side in ids[:2]]
    return rank(*features, *ids, distances=lambda *_: distances, **options)


def rows(*distances):
    return matrix(distances)


def all_of(distances):
    return distances.whole(slice(None))


# The released numbers


def test_golden_scores_are_reproduced(golden, golden_inputs):
    ranking = rank(*golden_inputs)
    assert ranking.mAP == pytest.approx(float(golden["mAP"]), abs=1e-6)
    for protocol in ("market1501", "allshots"):
        np.testing.assert_allclose(ranking.cmc[protocol], golden[f"cmc_{protocol}"], atol=1e-6)


def test_golden_cuhk03_curve_is_reproduced_on_average(golden, golden_inputs):
    ranking = rank(*golden_inputs, cuhk03_repeats=100)
    np.testing.assert_allclose(ranking.cmc["cuhk03"], golden["cmc_cuhk03_mean_of_100_runs"], atol=0.02)


def test_cuhk03_is_drawn_on_request_only(golden_inputs):
    assert list(rank(*golden_inputs).cmc) == ["market1501", "allshots"]


@pytest.mark.parametrize("repeats", [0, 3])
def test_an_accelerator_gives_the_same(golden_inputs, repeats):
    here = rank(*golden_inputs, cuhk03_repeats=repeats)
    with accelerator():
        query, gallery = (torch.as_tensor(features).to(DEVICE) for features in golden_inputs[:2])
        there = rank(query, gallery, *golden_inputs[2:], cuhk03_repeats=repeats)
    assert (there.mAP, there.mINP, there.num_skipped) == (here.mAP, here.mINP, here.num_skipped)
    for protocol, curve in here.cmc.items():
        np.testing.assert_allclose(there.cmc[protocol], curve, atol=1e-12)


# Cases known from open-reid, on distances alone: every match counts ("allshots")


def test_one_gallery_image_per_query():
    distances = [[0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]
    ids = np.arange(5), np.arange(5), np.zeros(5, int), np.ones(5, int)
    ranking = rank_distances(rows(*distances), *ids, cuhk03_repeats=1)
    for protocol in ("allshots", "market1501", "cuhk03"):
        np.testing.assert_allclose(ranking.cmc[protocol][:5], [0.6, 0.6, 0.8, 1, 1])


def test_two_gallery_images_per_identity():
    pids = np.array([0, 0, 1, 1])
    ranking = rank_distances(rows(*[[0, 1, 2, 3]] * 4), pids, pids, np.zeros(4, int), np.ones(4, int), topk=4)
    np.testing.assert_allclose(ranking.cmc["allshots"], [0.5, 0.5, 1, 1])


def test_images_of_the_same_identity_and_camera_do_not_count():
    pids = np.array([0, 0, 0, 1, 1])
    camids = np.array([0, 1, 1, 1, 1])
    ranking = rank_distances(rows(*[[0, 1, 2, 3, 4]] * 5), pids, pids, np.zeros(5, int), camids, topk=5)
    np.testing.assert_allclose(ranking.cmc["allshots"], [0.6, 0.6, 0.6, 1, 1])


# Cases worked out by hand


def test_matches_at_ranks_one_and_four():
    pids = np.array([7, 1, 2, 7])
    ranking = rank_distances(rows([0, 1, 2, 3]), np.array([7]), pids, np.array([0]), np.ones(4, int), topk=6)
    assert ranking.mAP == pytest.approx((1 / 1 + 2 / 4) / 2)  # the step rule; the trapezoid would give 0.708
    assert ranking.mINP == pytest.approx(2 / 4)
    np.testing.assert_allclose(ranking.cmc["market1501"], [1, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(ranking.cmc["allshots"], [0.5, 0.5, 1, 1, 1, 1])
    assert ranking.first_match_rank.tolist() == [1]


def test_same_camera_and_junk_are_left_out_but_distractors_stay():
    # In order of distance: same person and camera, junk, distractor, junk of another camera, the match.
    gallery_pids, gallery_camids = np.array([5, -1, 0, -1, 5]), np.array([0, 0, 1, 1, 1])
    ranking = rank_distances(rows([0, 1, 2, 3, 4]), np.array([5]), gallery_pids, np.array([0]), gallery_camids)
    assert ranking.first_match_rank.tolist() == [2]
    assert ranking.mAP == pytest.approx(1 / 2)


def test_queries_without_a_match_are_skipped_and_counted():
    ranking = rank_distances(
        rows([2, 1], [2, 1], [2, 1], [2, 1]),
        np.array([8, 1, -1, 2]),  # unknown, matched, junk, same camera only
        np.array([1, 2]),
        np.zeros(4, int),
        np.array([1, 0]),
    )
    assert (ranking.num_valid, ranking.num_skipped) == (1, 3)
    assert ranking.valid_queries.tolist() == [1]
    assert ranking.average_precision.tolist() == [0.5]


def test_cuhk03_drops_the_camera_of_the_query_and_keeps_one_image_per_identity():
    # Closer than the match: three images of identity 1, and one of identity 2 in the camera of the query.
    gallery_pids, gallery_camids = np.array([1, 1, 1, 2, 9, 3]), np.array([1, 2, 1, 0, 1, 1])
    ranking = rank_distances(
        rows([0, 1, 2, 3, 4, 5]), np.array([9]), gallery_pids, np.array([0]), gallery_camids, topk=3, cuhk03_repeats=5
    )
    np.testing.assert_allclose(ranking.cmc["cuhk03"], [0, 1, 1], atol=1e-12)
    np.testing.assert_allclose(ranking.cmc["market1501"], [0, 0, 0])


def test_equal_distances_are_ordered_by_position_in_the_gallery():
    pids = np.array([1, 2, 1, 3])
    ranking = rank_distances(rows([1, 1, 1, 1]), np.array([1]), pids, np.array([0]), np.ones(4, int))
    assert ranking.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)
    reversed_order = rank_distances(
        rows([1, 1, 1, 1]), np.array([1]), pids[::-1].copy(), np.array([0]), np.ones(4, int)
    )
    assert reversed_order.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_keys_order_every_kind_of_number():
    distances = torch.tensor([[0.0, -0.0, -1e-30, 1e-30, -3.5, 2.0, 2.0, 3e38, -3e38]])
    order = ordered_keys(distances)[0].argsort().tolist()
    assert order == [8, 4, 2, 0, 1, 3, 5, 6, 7]


# Against the literal protocol


@st.composite
def problems(draw):
    num_query, num_gallery = draw(st.integers(1, 8)), draw(st.integers(1, 14))
    # Few small whole numbers: exact in float32, and full of ties.
    features = st.lists(st.integers(-2, 2), min_size=2, max_size=2)

    def ids(count, low, high):
        return np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)))

    return (
        np.array([draw(features) for _ in range(num_query)], dtype=np.float32),
        np.array([draw(features) for _ in range(num_gallery)], dtype=np.float32),
        ids(num_query, -1, 3),
        ids(num_gallery, -1, 3),
        ids(num_query, 0, 2),
        ids(num_gallery, 0, 2),
    )


@settings(max_examples=200, deadline=None)
@given(problem=problems(), topk=st.integers(1, 20), chunk=st.integers(1, 9))
def test_equals_the_literal_protocol(problem, topk, chunk):
    precisions, inverse_penalties, first_ranks, cmc = literal_ranking(
        literal_distances(*problem[:2]), *problem[2:], topk=topk
    )
    if not len(precisions):
        with pytest.raises(ReidError, match="none of the"):
            rank(*problem, topk=topk, chunk=chunk)
        return
    ranking = rank(*problem, topk=topk, chunk=chunk)
    np.testing.assert_allclose(ranking.average_precision, precisions, atol=1e-12)
    assert ranking.mAP == pytest.approx(precisions.mean())
    assert ranking.mINP == pytest.approx(inverse_penalties.mean())
    assert ranking.first_match_rank.tolist() == first_ranks.tolist()
    assert (ranking.num_valid, ranking.num_skipped) == (len(precisions), len(problem[0]) - len(precisions))
    for protocol, curve in cmc.items():
        assert ranking.cmc[protocol].shape == (topk,)
        np.testing.assert_allclose(ranking.cmc[protocol], curve, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(problem=problems(), spread=st.sampled_from([0.0, 1e-30, 1e-6, 1e6]))
def test_equals_the_literal_protocol_where_distances_crowd(problem, spread):
    # Distances one rounding apart, or one match far from all else.
    _, _, query_pids, gallery_pids, query_camids, gallery_camids = problem
    distances = np.full((len(query_pids), len(gallery_pids)), 1, dtype=np.float32)
    distances[:, ::3] = np.nextafter(np.float32(1), np.float32(2))
    distances[:, -1] += np.float32(spread)
    ids = query_pids, gallery_pids, query_camids, gallery_camids
    precisions, _, first_ranks, cmc = literal_ranking(distances, *ids)
    if len(precisions):
        ranking = rank_distances(matrix(distances), *ids)
        np.testing.assert_allclose(ranking.average_precision, precisions, atol=1e-12)
        assert ranking.first_match_rank.tolist() == first_ranks.tolist()
        np.testing.assert_allclose(ranking.cmc["allshots"], cmc["allshots"], atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 3000, 6, 300), (30, 5000, 16, 12)])
def test_equals_the_literal_protocol_at_a_size_with_all_paths(shape):
    num_query, num_gallery, length, identities = shape
    generator = np.random.default_rng(0)
    sides = num_query, num_gallery
    pids = [generator.integers(-1, identities, count) for count in sides]
    centres = generator.normal(size=(identities + 1, length))
    features = [(centres[p] + generator.normal(size=(len(p), length))).astype(np.float32) for p in pids]
    features[1][::5] = features[1][0]  # copies: ties of distances that are no whole numbers
    camids = [generator.integers(0, 4, count) for count in sides]
    distances = all_of(squared_euclidean(*map(torch.from_numpy, features)))
    precisions, inverse_penalties, first_ranks, cmc = literal_ranking(distances.numpy(), *pids, *camids)
    ranking = rank(*features, *pids, *camids)
    np.testing.assert_allclose(ranking.average_precision, precisions, atol=1e-12)
    assert ranking.mINP == pytest.approx(inverse_penalties.mean())
    assert ranking.first_match_rank.tolist() == first_ranks.tolist()
    np.testing.assert_allclose(ranking.cmc["allshots"], cmc["allshots"], atol=1e-12)


# Repeatability


def random_problem(num_query=40, num_gallery=300, seed=0):
    generator = np.random.default_rng(seed)
    return [
        generator.integers(-3, 4, (num_query, 6)).astype(np.float32),
        generator.integers(-3, 4, (num_gallery, 6)).astype(np.float32),
        generator.integers(-1, 20, num_query),
        generator.integers(-1, 20, num_gallery),
        generator.integers(0, 4, num_query),
        generator.integers(0, 4, num_gallery),
    ]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_the_size_of_the_blocks_changes_nothing(chunk):
    whole, split = rank(*random_problem()), rank(*random_problem(), chunk=chunk)
    np.testing.assert_allclose(split.average_precision, whole.average_precision, atol=1e-12)
    for protocol, curve in whole.cmc.items():
        np.testing.assert_allclose(split.cmc[protocol], curve, atol=1e-12)


def test_global_random_state_is_left_alone():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    rank(*random_problem())
    np.testing.assert_array_equal(np.random.get_state()[1], before)


# Inputs


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_any_float_type_are_compared_in_float32(dtype):
    problem = random_problem()
    # Whole numbers up to 120: exact in every type here, but their squared distances are not in half precision.
    problem[0], problem[1] = problem[0] * 40, problem[1] * 40
    expected = rank(*problem)
    features = [torch.from_numpy(side).to(dtype) for side in problem[:2]]
    np.testing.assert_array_equal(rank(*features, *problem[2:]).average_precision, expected.average_precision)


def test_tensors_and_arrays_give_the_same():
    problem = random_problem()
    tensors = rank(*map(torch.from_numpy, problem))
    np.testing.assert_array_equal(tensors.average_precision, rank(*problem).average_precision)


def seen_by_rank(features, ids):
    """The squared Euclidean distances, in the precision in which `rank` asks for them."""
    blocks = []

    def source(query, gallery, sharded):
        distances = squared_euclidean(query, gallery, sharded)
        return Distances(lambda some: blocks.append(distances.whole(some)) or distances.rows(some))

    rank(*features, *ids, distances=source, chunk=len(features[0]))
    return blocks[0]


def test_reduced_precision_chosen_by_the_caller_is_not_used():
    problem = random_problem()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = [torch.from_numpy(side) * 1.001 for side in problem[:2]]
            block = seen_by_rank(features, problem[2:])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert block.dtype == torch.float32
    torch.testing.assert_close(
        block, torch.cdist(*[side.double() for side in features]).square().float(), atol=1e-4, rtol=1e-4
    )


def test_distances_less_their_constants_keep_the_order():
    problem = random_problem()
    distances = squared_euclidean(*map(torch.from_numpy, problem[:2]))
    expected = literal_distances(*problem[:2])
    np.testing.assert_array_equal(all_of(distances), expected)  # whole numbers stay whole
    np.testing.assert_array_equal(distances.rows(slice(None)) + distances.constants[:, None], expected)


def test_cosine_ignores_the_length_of_the_features():
    problem = random_problem()
    scaled = [side * np.linspace(1, 9, len(side), dtype=np.float32)[:, None] for side in problem[:2]]
    block, same = (all_of(cosine(*map(torch.from_numpy, sides))) for sides in (problem[:2], scaled))
    torch.testing.assert_close(block, same, atol=1e-5, rtol=0)


def test_broken_features_are_counted_and_named():
    problem = random_problem()
    problem[1][[3, 5]] = np.nan
    with pytest.raises(ReidError, match="2 of 300 gallery features hold NaN"):
        rank(*problem)


def test_distances_beyond_float32_are_refused():
    problem = random_problem()
    problem[1] = problem[1] * 1e30
    with pytest.raises(ReidError, match="too large"):
        rank(*problem)


@pytest.mark.parametrize("position", range(6))
def test_inputs_of_wrong_length_are_refused(position):
    problem = random_problem()
    problem[position] = problem[position][:-1]
    with pytest.raises(ReidError):
        rank(*problem)


@pytest.mark.parametrize("position", range(6))
def test_inputs_of_wrong_shape_are_refused(position):
    problem = random_problem()
    problem[position] = problem[position][..., None]
    with pytest.raises(ReidError):
        rank(*problem)


def test_features_of_two_models_are_refused():
    problem = random_problem()
    problem[1] = problem[1][:, :4]
    with pytest.raises(ReidError, match="length 6, gallery features 4"):
        rank(*problem)


def test_distances_of_another_gallery_are_refused():
    with pytest.raises(ReidError, match="2 for 1 queries and 3 gallery images"):
        rank_distances(rows([1, 2]), np.array([1]), np.array([1, 2, 3]), np.zeros(1, int), np.ones(3, int))


def test_one_camera_only_is_explained():
    problem = random_problem()
    problem[4][:], problem[5][:] = 0, 0
    with pytest.raises(ReidError, match="one camera"):
        rank(*problem)


# Collapsed features


def collapsed_problem(spread, sides=(0, 1), num_query=60, num_gallery=500, length=64):
    """Features of length 50 whose sides lie within `spread` of one point, with the order of the persons in them."""
    generator = np.random.default_rng(3)
    pids = [generator.integers(0, 25, count) for count in (num_query, num_gallery)]
    camids = [generator.integers(0, 3, count) for count in (num_query, num_gallery)]
    people, point = generator.normal(size=(25, length)), generator.normal(size=length)
    point *= 50 / np.linalg.norm(point)
    features = [people[ids] + generator.normal(size=(len(ids), length)) for ids in pids]
    for side in sides:
        features[side] *= spread
    return [(point + side).astype(np.float32) for side in features] + pids + camids


@pytest.mark.parametrize("sides", [(0, 1), (0,), (1,)], ids=["both", "queries", "gallery"])
@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-5, 1e-6])
def test_collapsed_features_are_ranked_exactly_and_reported(spread, sides):
    problem = collapsed_problem(spread, sides)
    precisions, *_ = literal_ranking(literal_distances(*problem[:2]), *problem[2:])
    ranking = rank(*problem)
    np.testing.assert_allclose(ranking.average_precision, precisions, atol=0.02)  # a few near ties may turn
    assert ranking.mAP == pytest.approx(precisions.mean(), abs=1e-3)
    assert ranking.collapsed


def test_collapsed_directions_are_ranked_exactly_and_reported():
    problem = collapsed_problem(1e-4)
    for side in problem[:2]:
        side *= np.linspace(1, 9, len(side), dtype=np.float32)[:, None]
    unit = [side.astype(np.float64) for side in problem[:2]]
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in unit]
    exact = literal_ranking(literal_distances(*unit), *problem[2:])[0].mean()
    ranking = rank(*problem, distances=cosine)
    assert ranking.mAP == pytest.approx(exact, abs=0.02)  # scaling to unit length rounds
    assert ranking.collapsed
    assert not rank(*problem).collapsed


def test_features_that_differ_are_not_reported_as_collapsed():
    assert not rank(*random_problem()).collapsed
    assert not rank(*collapsed_problem(1)).collapsed
    one_query = [side[:1] if i % 2 == 0 else side for i, side in enumerate(collapsed_problem(1))]
    assert not rank(*one_query).collapsed


# Chance


@pytest.mark.parametrize(("kept", "matches"), [(1, 1), (5, 5), (6, 1), (12, 4)])
def test_chance_is_the_mean_over_random_orders(kept, matches):
    generator = np.random.default_rng(0)
    hits = generator.permuted(np.tile(np.arange(kept) < matches, (20000, 1)), axis=1)
    precision = hits.cumsum(axis=1) / np.arange(1, kept + 1)
    simulated = (precision * hits).sum(axis=1).mean() / matches
    expected = chance_average_precision(np.array([kept]), np.array([matches]))[0]
    assert expected == pytest.approx(simulated, abs=0.005)


def test_random_features_score_at_chance():
    problem = random_problem(num_query=400)
    generator = np.random.default_rng(1)
    problem[0], problem[1] = (generator.normal(size=side.shape) for side in problem[:2])
    ranking = rank(*problem)
    assert ranking.mAP == pytest.approx(ranking.chance_mAP, abs=0.01)
    assert 0.02 < ranking.chance_mAP < 0.2


# Memory


def test_never_holds_all_distances():
    program = """
import resource, torch
from reid.evaluation.ranking import rank
torch.set_num_threads(1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
generator = torch.Generator().manual_seed(0)
def problem(num_query, num_gallery):
    sides = (num_query, num_gallery)
    ids = [torch.randint(0, high, (n,), generator=generator) for high in (50, 3) for n in sides]
    return [torch.randn(n, 4, generator=generator) for n in sides] + ids
rank(*problem(16, 20000), chunk=16)
before = peak()
rank(*problem(500, 20000), chunk=16)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 500 * 20000 * 4 / 4  # a quarter of the float32 matrix
