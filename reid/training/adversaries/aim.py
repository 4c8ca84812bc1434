"""Where an adversary drives the features of images, if not up the training loss: an objective of the suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from reid.attacks.universal.recipes import Objective
from reid.models.network import Trainable
from reid.runtime.device import send


@dataclass(frozen=True)
class Aim:
    """An objective, which is minimised, for images with the clean features (N, D) and the identities (N,), on the CPU,
    that they have here. Where the objective reads no clean features, others may stand in for them. `model` is the one
    in training."""

    model: Trainable
    objective: Objective
    clean: Tensor
    pids: Tensor

    def of(self, rows: Tensor) -> Aim:
        """That of some of the images; rows (M,) on the CPU."""
        return replace(self, clean=self.clean[send(rows, self.clean.device)], pids=self.pids[rows])

    def reached(self, features: Tensor) -> Tensor:
        """How well each image is attacked (N,), the more the better, from its features (N, D).

        Each by itself, so that it does not depend on who else is in a process's share of the batch.
        """
        if not len(features):
            return features.sum(dim=1)
        images = zip(self.clean.split(1), features.split(1), self.pids.split(1), strict=True)
        return -torch.stack([self.objective(*image) for image in images])


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Eval mode, and no gradient of the weights, which would be a third of a backward pass. It has to last until that
    pass is done, which may compute activations again."""
    training, learnt = model.training, [parameter for parameter in model.parameters() if parameter.requires_grad]

    def switch(training: bool, learning: bool) -> None:
        model.train(training)
        for parameter in learnt:
            parameter.requires_grad_(learning)

    switch(False, False)
    try:
        yield
    finally:
        switch(training, True)
