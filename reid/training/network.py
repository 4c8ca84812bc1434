"""What is trained: a re-ID model, and for the virtual set's identities a second head that is thrown away afterwards."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from reid.models.network import Trainable
from reid.runtime.seeds import for_torch

Weights = dict[str, Tensor]


class TrainedNetwork(nn.Module):
    """`features, logits = network(images, virtual)`: the model's own head, or the one of the virtual identities."""

    def __init__(self, model: Trainable, num_virtual: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.virtual_head: nn.Linear | None = None
        if num_virtual:
            self.virtual_head = nn.Linear(model.embedding_dim, num_virtual)
            random = torch.Generator().manual_seed(for_torch(seed))
            nn.init.normal_(self.virtual_head.weight, std=0.001, generator=random)
            nn.init.zeros_(self.virtual_head.bias)

    def forward(self, images: Tensor, virtual: bool = False) -> tuple[Tensor, Tensor]:
        """Features (N, D) and logits (N, C) of images (N, 3, H, W) in [0, 1]."""
        if not virtual:
            return self.model(images)
        if self.virtual_head is None:
            raise ValueError("this network has no head for virtual identities")
        features = self.model.features(images)
        return features, self.virtual_head(self.model.embedding(features))

    def weights(self) -> Weights:
        """What training changes, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def hold_early(self) -> None:
        """Take the first three quarters of the backbone's weights, in the order of its layers, out of training."""
        backbone = [weight for name, weight in self.weights().items() if is_backbone(name)]
        for weight in backbone[: 3 * len(backbone) // 4]:
            weight.requires_grad_(False)

    def groups(self, lr: float, new_layers: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimiser: the backbone at `lr`, all other layers at `new_layers` times that."""
        groups: list[dict[str, Any]] = [{"params": [], "lr": lr * f, "factor": f} for f in (1.0, new_layers)]
        for name, weight in self.weights().items():
            groups[0 if is_backbone(name) else 1]["params"].append(weight)
        return groups

    def at(self, weights: Weights, images: Tensor, virtual: bool) -> tuple[Tensor, Tensor]:
        """The forward pass as a pure function of `weights`.

        Batch normalisation uses the statistics of these images. Its running statistics, which inference uses, follow
        the source set alone: a pass over virtual images leaves them as they are.
        """
        buffers = {name: value.clone() for name, value in self.named_buffers()} if virtual else {}
        return functional_call(self, weights | buffers, (images, virtual))


def is_backbone(name: str) -> bool:
    """Whether a weight of a TrainedNetwork belongs to the body, not to what re-ID training added to it."""
    return name.startswith("model.base.")
