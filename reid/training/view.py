"""What a defence sees of the network in training: its outputs on a batch, at the live weights or at moved ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.models.network import Trainable
from reid.runtime import distributed
from reid.runtime.device import Compute, send
from reid.training.batches import TrainingBatch
from reid.training.centroids import Centroids
from reid.training.losses import ReidLoss
from reid.training.network import TrainedNetwork, Weights


@dataclass(frozen=True)
class Outputs:
    """Features (R, D), logits (R, C) and labels (R,) of a whole batch, of all processes.

    Each process has its clean images first, then the perturbed ones that were made from them.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    batch: TrainingBatch  # this process's share

    @property
    def clean(self) -> Tensor:
        """Rows (N,) of the clean images."""
        return self._rows(torch.arange(len(self.batch.clean)))

    @property
    def perturbed(self) -> Tensor:
        """Rows (P,) of the perturbed images."""
        return self._rows(torch.arange(len(self.batch.clean), len(self.batch.labels)))

    @property
    def origins(self) -> Tensor:
        """Rows (P,) of the clean images that the perturbed ones were made from, in order. ValueError where none is."""
        if not len(self.batch.clean):
            raise ValueError("a batch of perturbed images alone has no clean rows; say needs_clean = True")
        return self._rows(2 * torch.arange(len(self.batch.labels) - len(self.batch.clean)))

    def _rows(self, places: Tensor) -> Tensor:
        """The rows of images that have these places on each process."""
        starts = len(self.batch.labels) * torch.arange(distributed.size())
        return send((starts[:, None] + places).flatten(), self.features.device)


@dataclass(frozen=True)
class View:
    """The trained network at some weights; with several processes every result is that of the whole batch."""

    network: TrainedNetwork
    weights: Weights
    compute: Compute
    loss: ReidLoss
    start: Trainable | None = None  # as training found the model, frozen, for defences with `needs_start`
    known: Centroids | None = None  # for defences with `needs_centroids`

    def outputs(self, batch: TrainingBatch) -> Outputs:
        """Features, logits and labels of clean and perturbed images; differentiable in the weights and the images."""
        with self.compute.autocast():
            features, logits = self.network.at(self.weights, batch.images, batch.virtual)
        features, logits, labels = map(distributed.gather, (features, logits.float(), batch.labels))
        return Outputs(features, logits, labels, batch)

    def reid_loss(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """The re-ID loss of the run over all rows, and the precision of its triplets."""
        outputs = self.outputs(batch)
        return self.loss(outputs.features, outputs.logits, outputs.labels)

    @torch.no_grad()
    def start_features(self, batch: TrainingBatch) -> Tensor:
        """Features (R, D) of the same rows by the model that training started from, in eval mode.

        Raises ValueError for a defence without `needs_start`, for which that model is not kept.
        """
        if self.start is None:
            raise ValueError("the model that training started from is kept for defences with needs_start = True")
        with self.compute.autocast():
            return distributed.gather(self.start.features(batch.images))

    def centroids(self, batch: TrainingBatch) -> Tensor:
        """The mean feature (C, D) of each identity of the batch's set by the model that training started from, in the
        order of the labels. Raises ValueError for a defence without `needs_centroids`."""
        if self.known is None:
            raise ValueError("centroids are computed for defences with needs_centroids = True")
        return self.known.of(batch.virtual).features
