"""Intervals by the bootstrap over identities, against a loop over what is drawn."""

import numpy as np
import pytest

from reid.evaluation.intervals import DRAWS, interval

PIDS = np.array([7, 7, 7, 2, 5, 5, 9, 9, 9, 9])
VALUES = np.array([0.9, 0.8, 1.0, 0.1, 0.5, 0.6, 0.0, 0.2, 0.1, 0.3])


def literal(values, pids, seed=0):
    """The interval, with each identity that is drawn bringing the list of its values."""
    random, people = np.random.default_rng(seed), sorted(set(pids.tolist()))
    means = []
    for places in random.integers(len(people), size=(DRAWS, len(people))):
        taken = [value for place in places for value in values[pids == people[place]]]
        means.append(sum(taken) / len(taken))
    return np.percentile(means, 2.5), np.percentile(means, 97.5)


@pytest.mark.parametrize("seed", [0, 3])
def test_equals_the_loop(seed):
    found = interval(VALUES, PIDS, seed)
    assert found == pytest.approx(literal(VALUES, PIDS, seed))
    assert found.low < VALUES.mean() < found.high


def test_order_of_the_queries_does_not_matter():
    order = np.random.default_rng(0).permutation(len(PIDS))
    assert interval(VALUES[order], PIDS[order]) == pytest.approx(interval(VALUES, PIDS))


def test_of_one_identity_is_its_mean():
    assert interval(np.array([0.2, 0.4]), np.array([3, 3])) == pytest.approx((0.3, 0.3))


def test_queries_of_one_identity_move_together():
    """Ten queries of each of four people say no more than four queries; as many people say more."""
    few = np.array([0.0, 1.0, 0.0, 1.0])
    many = few.repeat(10)
    assert interval(many, np.arange(4).repeat(10)) == interval(few, np.arange(4)) == (0.0, 1.0)
    apart = interval(many, np.arange(40))
    assert 0.3 < apart.low < apart.high < 0.7


def test_a_difference_is_surer_on_the_same_queries():
    """Two attacks of which one is everywhere a little stronger, on people who differ much."""
    first = np.linspace(0, 1, 30)
    second = first + 0.02 + 0.01 * np.cos(np.arange(30))
    pids = np.arange(30)
    low, high = interval(second - first, pids)
    assert 0 < low < 0.02 < high < 0.03
    assert interval(first, pids).high > interval(second, pids).low
