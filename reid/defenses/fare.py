"""Label-free: features stay where the model had them (FARE; Schlarmann et al., Robust CLIP, ICML 2024)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reid.defenses.ahead import MaybeAhead
from reid.runtime.cli import natural_float
from reid.runtime.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from reid.training.batches import TrainingBatch
    from reid.training.view import Outputs, View


@dataclass(frozen=True)
class Fare(MaybeAhead):
    """Perturbed features are pulled to the start model's features of the clean images. So are clean ones, with the
    weight `anchor`, which FARE leaves out; in a batch without clean images the perturbed ones take their place. The
    start sees images without colour jitter."""

    needs_clean = False
    needs_labels = False
    needs_start = True

    anchor: float = option(
        1.0,
        "fare, anchored: weight of the clean anchor, the distance of clean features from those of the model that "
        "training started from; more holds them, less leaves room for robustness",
        type=natural_float,
    )

    def loss(self, network: View, batch: TrainingBatch) -> tuple[Tensor, Tensor | None]:
        return self.pull(network, network.outputs(batch)), None

    def pull(self, network: View, outputs: Outputs) -> Tensor:
        """The drift of perturbed features from the start's clean ones, and `anchor` times that of clean features."""
        from reid.training.losses import drift

        batch = outputs.batch
        start = network.start_features(replace(batch, clean=batch.before, perturbed=None))
        perturbed = outputs.features[outputs.perturbed]
        clean = outputs.features[outputs.clean] if len(batch.clean) else perturbed
        return drift(perturbed, start[:: batch.every], start) + self.anchor * drift(clean, start, start)
