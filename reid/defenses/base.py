"""What a defence is: the loss of a training batch, and what that loss needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from reid.training.batches import TrainingBatch
    from reid.training.step import LookAhead
    from reid.training.view import View


@dataclass(frozen=True)
class Defense:
    """The gradient of the sum of `loss` over the sets trains the network.

    A subclass is a frozen dataclass. Its fields made by reid.runtime.options.option are options of metaDefense.py; a
    field that several defences declare is one option with one meaning and one default. Torch is imported where it is
    used, not at the top of the file.
    """

    needs_virtual: ClassVar[bool] = False  # a virtual set, with identities of its own, beyond the source
    needs_adversary: ClassVar[bool] = False  # perturbed images: without, batches are clean
    needs_labels: ClassVar[bool] = True  # identities: without, batches are images drawn at random
    needs_start: ClassVar[bool] = False  # the model that training started from, as `network.start_features`

    @property
    def look_ahead(self) -> LookAhead | None:
        """For a loss on the virtual set that is taken after a step on the source: the settings of that step."""
        return None

    def loss(self, network: View, batch: TrainingBatch) -> tuple[Tensor, Tensor | None]:
        """The loss of a batch, a scalar, and the precision of its triplets in [0, 1], or None, for the log.

        `network.outputs(batch)` gives features, logits and labels of all rows, and which rows are perturbed, from
        which clean ones; `network.reid_loss(batch)` is the loss of the options, with its precision.
        """
        return network.reid_loss(batch)
