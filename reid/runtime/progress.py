"""One line on the terminal for all work of a command: where it is, how much is done, how long the rest will take.

Loops nest: each takes its part of the item of the loop around it, so that an inner step moves the whole. Without a
terminal, and on any rank but 0, nothing is shown.
"""

import contextlib
import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass
from itertools import accumulate
from typing import Any, Generic, TypeVar

from reid.errors import printable
from reid.runtime import job, terminal

T = TypeVar("T")

INTERVAL = 0.2  # seconds between two changes of the line
FIRST, SOON = 0.01, 60.0  # the part, or the seconds, after which the time left is said
clock = time.monotonic
_lock = threading.RLock()
_open: list["Loop[Any]"] = []  # those that run, the outermost first


@dataclass(eq=False)
class Loop(Generic[T]):
    """What `progress` returns. `share` is how much of the item of the loop around it this is, at most what is left of
    it; `note` is shown next to the number of the item, such as a loss."""

    items: Iterable[T]
    total: int | None
    words: str = ""
    sizes: InitVar[Sequence[float] | None] = None
    names: Sequence[str] = ()
    done: int = 0
    share: float = 1.0
    note: str = ""

    def __post_init__(self, sizes: Sequence[float] | None) -> None:
        self._before = list(accumulate(sizes, initial=0.0)) if sizes and sum(sizes) > 0 else None
        self._inside = 0.0  # how much of the item is done
        self._place = (0.0, 1.0)  # from where to where in the item of the loop around it
        self._first = self._part = self.part()
        self._elapsed, self._speed = 0.0, 0.0  # seconds until `_part`, and parts per second
        self._due = 0.0  # when to draw

    def __iter__(self) -> Iterator[T]:
        self._begin()
        try:
            for item in self.items:
                yield item
                self.done += 1
                self._inside = 0.0
                if _open:
                    self._end_inner()
                    _draw()
        finally:
            self._end()

    def part(self, inside: float = 0.0) -> float:
        """How much of this loop is done, in [0, 1], where at least `inside` of its item is."""
        total, inside = self.total, max(self._inside, inside)
        if total is None:
            return 0.0
        if self.done >= total:
            return 1.0
        if self._before is None:
            return (self.done + inside) / total
        low, high = self._before[self.done : self.done + 2]
        return (low + inside * (high - low)) / self._before[-1]

    def position(self) -> str:
        """Which item it is, and when all will be done, in words: "3 of 12, about 5 min left"."""
        seconds = self._seconds_left(self.part())
        return f"{self._number} of {self.total}" + ("" if math.isnan(seconds) else f", about {told(seconds)} left")

    @property
    def _number(self) -> int:
        return self.done + 1 if self.total is None else min(self.done + 1, self.total)

    def _label(self) -> str:
        total = "" if self.total is None else f"/{self.total}"
        number = self.words and f"{self.words} {self._number}{total}"
        name = self.names[self._number - 1] if self.names else ""
        return printable(" ".join(filter(None, [number, name, self.note])))

    def _seconds_left(self, part: float) -> float:
        """As this part is done; NaN where none was. What was done last counts most for the speed."""
        elapsed = clock() - self._began
        if elapsed > self._elapsed:
            speed = (part - self._part) / (elapsed - self._elapsed)
            self._speed += (speed - self._speed) * (1 - (self._elapsed / elapsed) ** 2)
            self._elapsed, self._part = elapsed, part
        return (1 - part) / self._speed if self._speed > 0 else math.nan

    def _time_left(self, part: float) -> list[str]:
        """In words, where something can be said."""
        left = self._seconds_left(part)
        early = part - self._first < FIRST and self._elapsed < SOON
        return [] if early or math.isnan(left) else [f"{told(left)} left"]

    def _begin(self) -> None:
        self._began = clock()
        self._thread = threading.get_ident()
        if not (job.is_main() and terminal.is_there()):
            return
        with _lock:
            if _open:
                low = _open[-1]._inside
                self._place = low, min(1.0, low + self.share)
            _open.append(self)
        _draw()

    def _end_inner(self) -> None:
        """Loops of this thread that began later are over, even if nobody closed them."""
        if _open[-1:] != [self]:
            with _lock:
                if self in _open:
                    after = _open.index(self) + 1
                    _open[after:] = [loop for loop in _open[after:] if loop._thread != self._thread]

    def _end(self) -> None:
        with _lock:
            if self not in _open:
                return
            self._end_inner()
            place = _open.index(self)
            if place:
                around = _open[place - 1]
                around._inside = max(around._inside, self._place[1])
            _open.remove(self)
        if not _open:
            terminal.clear()


def progress(
    items: Iterable[T],
    total: int | None,
    words: str,
    *,
    sizes: Sequence[float] | None = None,
    names: Sequence[str] = (),
    done: int = 0,
) -> Loop[T]:
    """`items`, of which there are `total` (None: nobody knows), on the line while they last, as in "batch 3/7".

    `sizes` say how much work each is, in any unit, and `names` what each is called; `done` of them were done before.
    Loops that run during an item are the work on it: the first one all of it, if it is in no `stage`.
    """
    return Loop(items, total, words, sizes, names, done)


@contextlib.contextmanager
def stage(share: float = 1.0) -> Iterator[None]:
    """Loops in here are this share of the work on the item around it, or where nothing is around it, one whole."""
    for _ in Loop([None], 1, share=share):
        yield


def close() -> None:
    """Take the line away, whichever loops are not over: nobody will go on with them."""
    _open.clear()
    terminal.clear()


def told(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _draw() -> None:
    """Show where all loops are, unless that was done a moment ago."""
    loops = _open[:]
    if not loops or clock() < loops[0]._due:
        return
    loops[0]._due = clock() + INTERVAL
    inside = 0.0
    for loop in reversed(loops):
        part = loop.part(inside)
        inside = loop._place[0] + part * (loop._place[1] - loop._place[0])
    labels = [label for loop in loops if (label := loop._label())]
    if loops[0].total is not None:
        labels = [f"{int(100 * part)} %", *loops[0]._time_left(part), *labels]
    terminal.show(" · ".join(labels))
