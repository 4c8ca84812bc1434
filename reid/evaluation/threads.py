"""Threads for work in small operators."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def in_threads() -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` whose calls run at once, in as many threads as torch uses, with one thread for the operators in each.

    Where operators take a fraction of a millisecond, to have all threads wait for each other after every one of them
    costs much, and most on a machine that has other work.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield pool.map
        finally:
            torch.set_num_threads(threads)  # that of this thread is still the same; this is for threads to come
