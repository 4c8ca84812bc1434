"""Where the model that training started from has the identities of the training sets."""

from collections.abc import Sequence

import torch

from reid.attacks.base import Reference
from reid.models.network import Trainable
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.training.batches import TrainingSet


class Centroids:
    """The mean clean feature of each identity of a set, computed when it is first asked for."""

    def __init__(self, start: Trainable, sets: Sequence[TrainingSet], compute: Compute) -> None:
        self._start, self._sets, self._compute = start, sets, compute
        self._known: dict[bool, Reference] = {}

    def of(self, virtual: bool) -> Reference:
        """Those of the source or of the virtual set: one feature for each label, in their order."""
        if virtual not in self._known:
            self._known[virtual] = self._computed(self._sets[virtual])
        return self._known[virtual]

    @torch.no_grad()
    def _computed(self, data: TrainingSet) -> Reference:
        labels, blocks = data.labels, []
        for images in data.plain(self._compute.device):
            with self._compute.autocast():
                blocks.append(self._start.features(images).float())
        labels, centres = Reference(distributed.gather_blocks(blocks, self._compute.device), labels, labels).centres
        return Reference(centres, labels, labels)
