"""Transfer: an attack is made on another model, a surrogate, and shown to this one."""

from collections.abc import Mapping
from dataclasses import replace

from reid.attacks.base import Attack, AttackBatch, Attacked, Reference
from reid.models.victim import Victim


class Transferred(Attack):
    """The images that `attack` makes on the `surrogate`. `known` is what it may know of other images as the
    surrogate sees them: references by field of AttackBatch. The victim itself is never asked."""

    kind = "transfer"
    needs = frozenset({"labels"})

    def __init__(self, attack: Attack, surrogate: Victim, known: Mapping[str, Reference]) -> None:
        self.inner, self.surrogate, self.known = attack, surrogate, known
        self.threat, self.others = attack.threat, (surrogate,)

    @property
    def knows(self) -> frozenset[str]:
        return self.inner.needs

    def attack(self, victim: Victim, batch: AttackBatch) -> Attacked:
        reference, training = self.known.get("reference"), self.known.get("training")
        return self.inner.attack(self.surrogate, replace(batch, reference=reference, training=training))
