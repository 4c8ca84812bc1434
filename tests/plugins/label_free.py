"""A defence that asks for no identities: features stay where those of the start model on clean images are."""

from dataclasses import dataclass

from reid.defenses import DEFENSES, Defense


@DEFENSES.register("label-free", "features of clean and perturbed images pulled to the start model's clean ones")
@dataclass(frozen=True)
class LabelFree(Defense):
    needs_adversary, needs_labels, needs_start = True, False, True

    def loss(self, network, batch):
        outputs, anchors = network.outputs(batch), network.start_features(batch)
        moved = outputs.features[outputs.perturbed] - anchors[outputs.origins]
        return moved.square().mean() + (outputs.features - anchors).square().mean(), None
