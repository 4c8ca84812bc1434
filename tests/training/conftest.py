"""Fixtures that training and defences share, and a run that is killed."""

import contextlib
import itertools

import pytest
from small_sets import clean, labels, people, small, small_once, tiny, tiny_once, training_set  # noqa: F401

from reid.training import trainer


@pytest.fixture
def killed(monkeypatch):
    """`with killed():` training with two steps an epoch is killed in the second step of the second epoch."""

    @contextlib.contextmanager
    def killing():
        steps, real = itertools.count(), trainer.step_gradients

        def dying(*args):
            if next(steps) == 3:
                raise KeyboardInterrupt
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(trainer, "step_gradients", dying)
            with pytest.raises(KeyboardInterrupt):
                yield

    return killing
