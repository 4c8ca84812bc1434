"""Randomness: every epoch starts from its own seed, so that a resumed run draws what the uninterrupted one drew."""

import random

import numpy as np
import torch


def seed_everything(*key: int) -> None:
    """Seed Python, numpy and torch (for dropout) from `key`, for example (seed, epoch)."""
    state = int(np.random.SeedSequence(list(key)).generate_state(1, np.uint32)[0])
    random.seed(state)
    np.random.seed(state)
    torch.manual_seed(state)


def generator(*key: int) -> torch.Generator:
    """A CPU generator of its own for `key`, for example (seed, epoch, iteration); the global state is left alone."""
    state = int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(state)
