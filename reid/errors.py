"""Errors that a user can cause. The message is one line: what is wrong, where, and how to mend it."""


class ReidError(Exception):
    """Base of every error that a user can cause; the scripts print it as one line and exit with code 2."""


class UsageError(ReidError):
    """An option, or a combination of options, that cannot work."""


class DatasetError(ReidError):
    """A dataset that is missing, broken, or not in a layout that its loader knows."""


class CheckpointError(ReidError):
    """A model or attacker file that is missing, broken, or of another kind than asked for."""
