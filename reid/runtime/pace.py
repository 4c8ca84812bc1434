"""How long a list of jobs will still take, told by how long those before took."""

import time
from collections.abc import Callable, Sequence


class Pace:
    """`sizes` say how much work each job is, in any unit. Jobs begin one after the other."""

    def __init__(self, sizes: Sequence[float], clock: Callable[[], float] = time.monotonic) -> None:
        self.sizes, self._clock, self._began, self._number = sizes, clock, clock(), 0

    def begins(self) -> str:
        """In words, as the next job begins: which of them it is, and how long it will take until all are done."""
        done, left = sum(self.sizes[: self._number]), sum(self.sizes[self._number :])
        self._number += 1
        words = f"{self._number} of {len(self.sizes)}"
        if done <= 0:
            return words
        seconds = (self._clock() - self._began) * left / done
        return f"{words}, about {_told(seconds)} left"


def _told(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
