"""Meta-learned defence: what is learnt on the source must help on the virtual set (docs/defense.md)."""

from dataclasses import dataclass

from reid.runtime.cli import positive_float
from reid.runtime.options import option
from reid.training.defense import Defense


@dataclass(frozen=True)
class Meta(Defense):
    """The re-ID loss on the source, plus that on the virtual set at weights moved by one step on the source."""

    needs_virtual = True
    needs_adversary = True

    inner_order: str = option(
        "first", "derivative through the inner step: second is exact, and twice as slow", choices=("first", "second")
    )
    inner_lr: float | None = option(
        None, "learning rate of the inner step (default: that of the outer step)", type=positive_float
    )
