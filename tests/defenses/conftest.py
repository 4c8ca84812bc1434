"""Fixtures that training and defences share."""

from small_sets import clean, labels, people, small, small_once, tiny, tiny_once, training_set  # noqa: F401
