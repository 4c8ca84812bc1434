"""The search for a perturbation: the best iterate, halvings, the end, and convergence."""

import pytest
import torch

from reid.evaluation.search import Best, gained, has_converged


def offered(scores):
    """A search with these scores, each with a state that tells which it was, until its end."""
    best = Best()
    for number, score in enumerate(scores):
        if best.is_final:
            break
        best.offer(score, {"epoch": torch.tensor(number)})
    return best


@pytest.mark.parametrize(
    ("scores", "offers", "kept", "halvings"),
    [
        ([0.9], 1, 0, 0),
        ([0.9, 0.8, 0.7], 3, 2, 0),
        ([0.9, 0.8, 0.8], 3, 2, 1),  # as low is as good, and no progress
        ([0.9, 0.8, 0.796], 3, 2, 1),  # neither is less than half a point
        ([0.9, 0.8, 0.85, 0.7, 0.75], 5, 3, 2),
        ([0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1], 7, 0, 6),  # the sixth halving ends it
    ],
)
def test_keeps_the_lowest_and_ends_when_steps_would_be_too_short(scores, offers, kept, halvings):
    best = offered(scores)
    assert best.scores == scores[:offers]
    assert (best.lowest, best.epoch, best.state["epoch"].item()) == (min(scores[:offers]), kept, kept)
    assert (best.halvings, best.is_final) == (halvings, halvings > 5)


def test_says_whether_half_a_point_was_gained():
    best = Best()
    assert [best.offer(score, {}) for score in (0.9, 0.8, 0.798, 0.85, 0.7)] == [True, True, False, False, True]


def test_has_a_state_of_its_own():
    value, best = torch.zeros(2), Best()
    best.offer(1.0, {"value": value})
    value += 1
    assert best.state["value"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("scores", "gain"),
    [
        ([0.9], 0),
        ([0.9, 0.5], 0.4),  # one epoch, and nothing to compare it with but the start
        ([0.9, 0.6, 0.5], 0.1),
        ([0.9, 0.6, 0.5, 0.5, 0.49], 0.01),
        ([0.9, 0.5, 0.7, 0.7], 0),
        ([0.9, 0.9, 0.9, 0.9, 0.5], 0.4),  # a plateau, and then it fell
    ],
)
def test_what_the_second_half_gained(scores, gain):
    assert gained(scores) == pytest.approx(gain)
    assert has_converged(scores, min(scores)) == (gain < 0.02)


@pytest.mark.parametrize(("lowest", "converged"), [(0.5, True), (0.46, True), (0.35, False)])
def test_a_search_that_ends_above_others_has_not_converged(lowest, converged):
    assert has_converged([0.9, 0.5, 0.5, 0.5], lowest) == converged
