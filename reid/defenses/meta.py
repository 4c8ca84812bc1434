"""Meta-learned defence: what is learnt on the source must help on the virtual set (docs/defense.md)."""

from dataclasses import dataclass

from reid.defenses.ahead import Ahead


@dataclass(frozen=True)
class Meta(Ahead):
    """The re-ID loss on the source, plus that on the virtual set at weights moved by one step on the source."""

    needs_virtual = True
    needs_adversary = True
    needs_clean = False
