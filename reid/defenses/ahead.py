"""Defences with a virtual set, and the look-ahead from the source to it (docs/defense.md)."""

from dataclasses import dataclass

from reid.runtime.cli import positive_float
from reid.runtime.options import option
from reid.training.defense import Defense


@dataclass(frozen=True)
class Ahead(Defense):
    """The loss on the virtual set is taken at weights that were moved by one step on the source."""

    inner_order: str | None = option(
        "first",
        "derivative through the step of the look-ahead: second is exact, and twice as slow",
        choices=("first", "second"),
    )
    inner_lr: float | None = option(
        None, "learning rate of the step of the look-ahead (default: that of the outer step)", type=positive_float
    )


@dataclass(frozen=True)
class MaybeAhead(Ahead):
    """A loss on the source and, where there is one, on the virtual set, with or without the look-ahead."""

    takes_virtual = True
    needs_adversary = True

    look_ahead: bool = option(
        False,
        "fare, anchored, trades, gallery: take the loss on the virtual set after a step on the source, as meta does; "
        "without, and with -m, they take it at the same weights as mixed does",
        action="store_true",
    )

    def __post_init__(self) -> None:
        if not self.look_ahead:
            object.__setattr__(self, "inner_order", None)
