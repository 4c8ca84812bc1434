"""Transfer: an attack is made on another model, a surrogate, and shown to this one."""

from collections.abc import Mapping
from dataclasses import replace

from reid.attacks.base import Attack, AttackBatch, Attacked, Reference
from reid.models.victim import Victim


class Transferred(Attack):
    """The images that `attack` makes on the `surrogate`. `known` is what it may know of other images as the
    surrogate sees them: references by field of AttackBatch. The victim itself is never asked."""

    kind = "transfer"

    def __init__(self, attack: Attack, surrogate: Victim, known: Mapping[str, Reference]) -> None:
        self.inner, self.surrogate, self.known = attack, surrogate, known
        self.threat = attack.threat
        self.needs = attack.needs - {"gradients", "scores"}  # of this victim

    def attack(self, victim: Victim, batch: AttackBatch) -> Attacked:
        before = self.surrogate.passes
        reference, training = self.known.get("reference"), self.known.get("training")
        images, spent, _ = self.inner.attack(self.surrogate, replace(batch, reference=reference, training=training))
        return Attacked(images, spent, self.surrogate.passes - before)
