"""Ctrl-C and SIGTERM while a command works: an exception that tidies up, at a moment at which that can be."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from reid.guard import HINT

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "told to stop"}
_came: list[int] = []


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Inside, a signal raises KeyboardInterrupt; the same one again ends the process, as it does in any other."""

    def interrupt(number: int, _: FrameType | None) -> None:
        _came.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    _came.clear()
    with _handled_by(interrupt):
        yield


def is_end_of(error: BaseException) -> bool:
    """Whether an error comes from a signal; code in C may make another one of the exception."""
    return isinstance(error, KeyboardInterrupt) or bool(_came)


def last_line() -> tuple[str, int]:
    """What a command says that was ended by a signal, and its exit code: 128 + the number of the signal."""
    number = signal.Signals(_came[0]) if _came else signal.SIGINT
    return f"{WORDS[number]}; {HINT}", 128 + number


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Inside, signals wait: for code in C that ends the whole process when an exception comes out of Python."""
    waiting: list[int] = []
    try:
        with _handled_by(lambda number, _: waiting.append(number)):
            yield
    finally:
        if waiting:
            signal.raise_signal(waiting[0])


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Signals that were ignored stay so. Python hands the others to its main thread, and lets no other say how."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in WORDS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
