"""What rankings betray: the same images for many people, found at few false alarms, and by nothing else."""

from itertools import combinations

import numpy as np
import pytest

from reid.evaluation.detector import FALSE_ALARMS, FIRST, HALVINGS, LEAST, QUERIES, SETS, Detector, enough, shared

PEOPLE, GALLERY = 60, 600
PIDS = np.repeat(np.arange(PEOPLE), 4)


def drawn(random, mixed=0.3):
    """Lists (Q, FIRST) of the own ten images of each person, a share of which is replaced by anybody's."""
    lists = [
        [*random.permutation(np.arange(10 * pid, 10 * pid + 10))[: round(FIRST * (1 - mixed))], *others(random, pid)]
        for pid in PIDS
    ]
    return np.array(lists)[:, :FIRST]


def others(random, pid):
    return random.permutation(np.delete(np.arange(GALLERY), range(10 * pid, 10 * pid + 10)))[:FIRST]


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def detector(random):
    return Detector(PIDS, drawn(random), seed=0)


def test_shared_is_the_mean_over_pairs_and_no_image_is_none(random):
    sets = np.array([[random.permutation(30)[:FIRST] for _ in range(5)] for _ in range(4)])
    sets[1, :, 6:] = -1
    sets[2, 0] = -1
    sets[3] = sets[3, :1]
    literal = [np.mean([len({*a} & {*b} - {-1}) for a, b in combinations(each.tolist(), 2)]) for each in sets]
    np.testing.assert_allclose(shared(sets), literal)
    assert shared(sets)[3] == FIRST


def test_images_that_answer_everybody_are_found(detector, random):
    lists = drawn(random, mixed=1.0)
    lists[:, :3] = [1000, 1001, 1002]
    told = detector.judge(lists)
    assert told["found"] == 1
    assert told["false_alarms"] < 0.05
    assert (told["k"], told["queries_per_set"], told["sets"]) == (FIRST, QUERIES, 2 * HALVINGS * SETS)


def test_people_who_are_all_answered_by_somebody_else_are_not_found(detector):
    """The perfect attack, to a detector: each finds the next one, so all are wrong and nothing is shared."""
    told = detector.judge(drawn(np.random.default_rng(1))[(np.arange(len(PIDS)) + 4) % len(PIDS)])
    assert told["found"] < 0.1


def test_clean_lists_give_the_false_alarms_which_are_few_but_some(detector):
    told = detector.judge(detector.clean)
    assert told["found"] == told["false_alarms"]
    assert FALSE_ALARMS / 5 < told["false_alarms"] < 5 * FALSE_ALARMS


def test_the_threshold_comes_from_other_people_than_the_sets(detector):
    assert len(detector.halves) == 2 * HALVINGS
    for one, other in zip(detector.halves[::2], detector.halves[1::2], strict=True):
        assert not {*PIDS[one.sets].ravel()} & {*PIDS[other.sets].ravel()}
        for half, source in ((one, other), (other, one)):
            assert half.sets.shape == (SETS, QUERIES)
            assert all(len({*PIDS[each]}) == QUERIES for each in half.sets)
            clean = shared(detector.clean[source.sets])
            assert (clean > half.threshold).mean() <= FALSE_ALARMS <= (clean >= half.threshold).mean()


def test_the_same_seed_draws_the_same_sets(detector, random):
    lists = drawn(random, 0.9)
    lists[:, 0] = 1000 + random.integers(0, 12, len(lists))
    told = [Detector(PIDS, detector.clean, seed).judge(lists)["found"] for seed in (0, 0, 1)]
    assert told[0] == told[1] != told[2]


def test_too_few_people_are_nothing_to_go_by():
    assert [enough(PIDS[people > PIDS]) for people in (LEAST - 1, LEAST)] == [False, True]
