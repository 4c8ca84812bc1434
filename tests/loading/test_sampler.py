"""P x K sampling: batch composition, coverage, determinism, refusals."""

from collections import Counter

import pytest

from reid.errors import UsageError
from reid.loading import PKSampler

PIDS = [pid for pid in (7, 3, 11, 5, 2) for _ in range(6)] + [40]


def test_each_batch_holds_p_identities_with_k_images_each():
    for batch in PKSampler(PIDS, batch_size=12, num_instances=4, seed=0).epoch(0, 20):
        assert Counter(Counter(PIDS[i] for i in batch).values()) == {4: 3}


def test_images_of_one_identity_differ_when_it_has_enough_of_them():
    for batch in PKSampler(PIDS[:-1], batch_size=8, num_instances=4, seed=0).epoch(0, 20):
        assert len(set(batch)) == 8


def test_an_identity_with_too_few_images_repeats_them():
    sampler = PKSampler([1, 2, 2, 2], batch_size=6, num_instances=3, seed=0)
    assert all(batch.count(0) == 3 for batch in sampler.epoch(0, 5))


def test_every_identity_comes_once_before_any_comes_twice():
    sampler = PKSampler(PIDS, batch_size=8, num_instances=4, seed=1)
    assert sampler.batches_per_deck == 3
    seen = [PIDS[i] for batch in sampler.epoch(0, sampler.batches_per_deck) for i in batch]
    assert set(Counter(seen).values()) == {4}
    assert len(set(seen)) == 6


def test_identities_that_fill_no_batch_wait_for_another_deck():
    sampler = PKSampler([pid for pid in range(7) for _ in range(2)], batch_size=6, num_instances=2, seed=0)
    batches = sampler.epoch(0, 40)
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert len({i // 2 for i in first + second}) == 6
    assert {i // 2 for batch in batches for i in batch} == set(range(7))


def test_batches_depend_on_seed_and_epoch_alone():
    first, again, other = (PKSampler(PIDS, 8, 4, seed) for seed in (0, 0, 1))
    assert first.epoch(3, 5) == again.epoch(3, 5)
    assert first.epoch(3, 5) != first.epoch(4, 5)
    assert first.epoch(3, 5) != other.epoch(3, 5)


@pytest.mark.parametrize(
    ("batch_size", "num_instances", "words"),
    [
        (10, 4, "not a multiple"),
        (4, 4, "one identity only"),
        (64, 4, "needs 16 identities, and the set has 6"),
    ],
)
def test_impossible_batches_are_refused_with_a_remedy(batch_size, num_instances, words):
    with pytest.raises(UsageError, match=words):
        PKSampler(PIDS, batch_size, num_instances, seed=0)
