"""The form of a model that is attacked and evaluated: features only, eval mode, frozen."""

import copy
import logging
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from reid.errors import CheckpointError
from reid.models.checkpoint import load_checkpoint, read_checkpoint, trained_size
from reid.models.fold import folded
from reid.models.layout import layout_of
from reid.models.network import ReidModel, create

logger = logging.getLogger(__name__)


class Victim(nn.Module):
    """`features = victim(x)`: a model reduced to its features, frozen, in eval mode even after `.train()`.

    `model` may return (features, logits) or features alone, so an adapter for somebody else's network is any
    module that takes images (N, 3, H, W) in [0, 1] and returns features (N, D). Gradients flow to the images. A
    ReidModel is copied, with its batch normalisation folded into its convolutions.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = (folded(model) if isinstance(model, ReidModel) else model).requires_grad_(False)
        self.model.to(memory_format=torch.channels_last)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W) in [0, 1]."""
        if isinstance(self.model, ReidModel):
            return self.model.features(images)
        output = self.model(images)
        return output[0] if isinstance(output, tuple) else output

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: an attack must not move the batch statistics or switch dropout on."""
        return super().train(False)


def as_victim(model: nn.Module) -> Victim:
    """A frozen copy of `model` as it is now. The model itself is left alone: its training can go on."""
    return Victim(copy.deepcopy(model))


def load_victim(path: str | Path, arch: str | None = None, size: tuple[int, int] | None = None) -> Victim:
    """The model in a checkpoint as a Victim; a file without a head will do, since features do not need one.

    Warns when the file says that it was trained on images of another (height, width) than `size`. Raises
    CheckpointError when it is another architecture than `arch`, if given, or no re-ID model.
    """
    found, num_classes = layout_of(read_checkpoint(path), path)
    if arch not in (None, found):
        raise CheckpointError(f"{path} is a {found}, not a {arch}; use -a {found}, or leave -a out")
    model = create(found, num_classes or 1, seed=0)
    load_checkpoint(model, path)
    trained = trained_size(path)
    if size is not None and trained not in (None, size):
        logger.warning("%s was trained on %d x %d images, not %d x %d; see --height and --width", path, *trained, *size)
    return Victim(model)
