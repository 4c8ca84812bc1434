"""What a kind of file holds of a perturbation, and how it is written."""

from collections.abc import Callable
from dataclasses import dataclass

PARTS = {"color": "the colour table", "delta": "the additive image"}


@dataclass(frozen=True)
class Format:
    """A kind of file. `component` is the one that it holds ("color" or "delta"; None: all), `is_whole` says whether the
    threat and the provenance are in it too.

    `write(path, noise)` writes that component, or all, and returns in words what is in the file and how near it is.
    """

    write: Callable[..., str]
    component: str | None = None
    is_whole: bool = False
