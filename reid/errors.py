"""Errors that a user can cause. The message is one line: what is wrong, where, and how to mend it."""

from collections.abc import Iterable


class ReidError(Exception):
    """Base of every error that a user can cause; the scripts print it as one line and exit with code 2."""

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(ReidError):
    """An option, or a combination of options, that cannot work."""


class DatasetError(ReidError):
    """A dataset that is missing, broken, or not in a layout that its loader knows."""


class CheckpointError(ReidError):
    """A model or attacker file that is missing, broken, or of another kind than asked for."""


def printable(text: str) -> str:
    """The text on one line of UTF-8: names of files may hold line ends, and bytes that no encoding has."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def few(keys: Iterable[object]) -> str:
    """The first three of `keys` for a one-line message, whatever a stranger put into them."""
    shown = [printable(" ".join(str(key).split()))[:60] for key in keys]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
