"""A defence of a user's own: perturbed features stay where the features of their clean images are."""

from dataclasses import dataclass

from reid.defenses import DEFENSES, Defense
from reid.runtime.cli import positive_float
from reid.runtime.options import option


@DEFENSES.register("toy", "re-ID loss, plus the distance of perturbed features from clean ones")
@dataclass(frozen=True)
class Toy(Defense):
    needs_adversary = True

    toy_weight: float = option(1.0, "weight of the distance", type=positive_float)

    def loss(self, network, batch):
        outputs = network.outputs(batch)
        loss, precision = network.loss(outputs.features, outputs.logits, outputs.labels)
        moved = outputs.features[outputs.perturbed] - outputs.features[outputs.origins].detach()
        return loss + self.toy_weight * moved.square().mean(), precision
