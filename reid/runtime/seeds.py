"""Randomness: every epoch starts from its own seed, so that a resumed run draws what the uninterrupted one drew.

A seed is a whole number of any size, from 0.
"""

import random

import numpy as np
import torch

from reid.errors import UsageError


def seed_everything(*key: int) -> None:
    """Seed Python, numpy and torch (for dropout) from `key`, for example (seed, epoch)."""
    state = int(_sequence(*key).generate_state(1, np.uint32)[0])
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)


def generator(*key: int) -> torch.Generator:
    """A CPU generator of its own for `key`, for example (seed, epoch, iteration); the global state is left alone."""
    state = int(_sequence(*key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(state)


def for_torch(seed: int) -> int:
    """The seed that torch is given for `seed`: the same, but for one that is beyond what torch takes."""
    return seed if 0 <= seed < 2**64 else generator(seed).initial_seed()


def _sequence(*key: int) -> np.random.SeedSequence:
    if min(key) < 0:
        raise UsageError(f"seed {min(key)} is negative; give one of at least 0")
    return np.random.SeedSequence(list(key))
