"""What a defence is to the trainer: the loss of a training batch, and what that loss needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from reid.training.batches import TrainingBatch
    from reid.training.view import View


class Defense:
    """The gradient of the sum of `loss` over the sets trains the network.

    A subclass is a frozen dataclass. Its fields made by reid.runtime.options.option are options of metaDefense.py; a
    field that several defences declare is one option with one meaning and one default. Torch is imported where it is
    used, not at the top of the file.
    """

    needs_virtual = False  # a virtual set, with identities of its own, beyond the source
    takes_virtual = False  # the same, where there is one
    needs_adversary = False  # perturbed images: without, batches are clean
    needs_clean = True  # clean images in every batch: --only-perturbed, which has some without, is then refused
    needs_labels = True  # identities: without, batches are images drawn at random
    needs_start = False  # the model that training started from, as `network.start_features`
    needs_centroids = False  # its mean clean feature of each identity, as `network.centroids`; attacks go by them too
    attack_objective = "loss"  # of OBJECTIVES: where attacks in training drive features, unless the options say
    # for a loss on the virtual set after a step on the source: order of the derivative through it ("first", "second"),
    # and its rate, or None for the rate of the outer step
    inner_order: str | None = None
    inner_lr: float | None = None

    def loss(self, network: View, batch: TrainingBatch) -> tuple[Tensor, Tensor | None]:
        """The loss of a batch, a scalar, and the precision of its triplets in [0, 1], or None, for the log.

        `network.outputs(batch)` gives features, logits and labels of all rows, and which rows are perturbed, from
        which clean ones; `network.reid_loss(batch)` is the loss of the options, with its precision.
        """
        return network.reid_loss(batch)
