"""Progress bars."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

from reid.runtime import job

T = TypeVar("T")


def progress(items: Iterable[T], total: int, words: str) -> "tqdm[T]":
    """`items` with a bar on stderr while they last; none where stderr is no terminal, nor on any rank but 0."""
    return tqdm(items, total=total, desc=words, leave=False, disable=None if job.is_main() else True)
