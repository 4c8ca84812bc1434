"""Threads that each take the next piece of work when they are free."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
S = TypeVar("S")


def in_threads(function: Callable[[S], T], pieces: Iterable[S], device: torch.device) -> Iterator[T]:
    """`map`; on a CPU in as many threads as torch uses, with one thread for the operators in each.

    Threads that share every operator wait for the slowest after each; here a core that is busy takes fewer pieces.
    """
    if device.type != "cpu":
        yield from map(function, pieces)
        return
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield from pool.map(function, pieces)
        finally:
            torch.set_num_threads(threads)  # that of this thread is still the same; this is for threads to come
