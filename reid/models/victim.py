"""The form of a model that is attacked and evaluated: features only, eval mode, frozen."""

import copy
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from reid.errors import CheckpointError
from reid.models.checkpoint import load_model


class Victim(nn.Module):
    """`features = victim(x)`: a model reduced to its features, frozen, in eval mode even after `.train()`.

    `model` may return (features, logits) or features alone, so an adapter for somebody else's network is any
    module that takes images (N, 3, H, W) in [0, 1] and returns features (N, D). Gradients flow to the images.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, H, W) in [0, 1]."""
        output = self.model(images)
        return output[0] if isinstance(output, tuple) else output

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: an attack must not move the batch statistics or switch dropout on."""
        return super().train(False)


def as_victim(model: nn.Module) -> Victim:
    """A frozen copy of `model` as it is now. The model itself is left alone: its training can go on."""
    return Victim(copy.deepcopy(model))


def load_victim(path: str | Path, arch: str | None = None) -> Victim:
    """The model in a checkpoint as a Victim. Raises CheckpointError when it is another than `arch`, if given."""
    model, _ = load_model(path)
    if arch not in (None, model.arch):
        raise CheckpointError(f"{path} is a {model.arch}, not a {arch}; use -a {model.arch}, or leave -a out")
    return Victim(model)
