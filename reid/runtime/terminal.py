"""The last line of the terminal, which is replaced again and again, and never mixed with what else is written."""

import contextlib
import logging
import os
import sys
import threading
import unicodedata
from collections.abc import Iterator

_lock = threading.RLock()
_shown = [""]  # the line that stands there now


def is_there() -> bool:
    """Whether what this process writes on stderr goes to a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def show(text: str) -> None:
    """Replace the last line by this one, of which what fits is shown."""
    room = _columns()
    while _width(text) > room:
        text = text[:-1]
    with _lock:
        _write(f"\r{text}{' ' * (_width(_shown[0]) - _width(text))}")
        _shown[0] = text


def clear() -> None:
    """Take the line away; what is written next begins where it began."""
    with _lock:
        if _shown[0]:
            show("")
            _write("\r")


class Handler(logging.StreamHandler):
    """Writes records above the last line."""

    def emit(self, record: logging.LogRecord) -> None:
        with _aside():
            super().emit(record)


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    with _lock:
        text = _shown[0]
        clear()
        yield
        if text:
            show(text)


def _columns() -> int:
    """How many fit into a line; in the last column, some terminals begin another one."""
    with contextlib.suppress(OSError, ValueError):
        if columns := os.get_terminal_size(sys.stderr.fileno()).columns:  # 0 where nobody said how wide it is
            return columns - 1
    return 79


def _width(text: str) -> int:
    """The columns that a text takes: two for each wide letter, as of Chinese."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        sys.stderr.write(text)
        sys.stderr.flush()
