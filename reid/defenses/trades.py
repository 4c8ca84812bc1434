"""TRADES: a loss on clean images, and how far perturbation moves the output (Zhang et al., ICML 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reid.defenses.ahead import MaybeAhead
from reid.runtime.cli import positive_float
from reid.runtime.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from reid.training.batches import TrainingBatch
    from reid.training.view import View


@dataclass(frozen=True)
class Trades(MaybeAhead):
    """The re-ID loss on clean images, and the drift of perturbed features from clean ones, where TRADES has the
    divergence of their logits: retrieval goes by features."""

    divergence: float = option(1.0, "weight of the distance of perturbed features from clean ones", type=positive_float)

    def loss(self, network: View, batch: TrainingBatch) -> tuple[Tensor, Tensor | None]:
        from reid.training.losses import drift

        outputs = network.outputs(batch)
        clean, logits, labels = (each[outputs.clean] for each in (outputs.features, outputs.logits, outputs.labels))
        loss, precision = network.loss(clean, logits, labels)
        moved = drift(outputs.features[outputs.perturbed], outputs.features[outputs.origins], clean)
        return loss + self.divergence * moved, precision
