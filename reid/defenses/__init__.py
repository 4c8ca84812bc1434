"""Training of victims: the plain one, which every defence starts from."""

from reid.defenses.plain import Recipe, train

__all__ = ["Recipe", "train"]
