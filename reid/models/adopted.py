"""A network of others with the interface of ours in training: its features as it gives them, and a head for a while."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.modules.batchnorm import _BatchNorm

from reid.errors import UsageError
from reid.models.checks import ImageCheck
from reid.models.drawn import drawn_images
from reid.models.network import Trainable, switch_norms
from reid.models.victim import Victim

REMEDY = "give the checkpoint or the ONNX file that it was made from"


class Adopted(Trainable):
    """`features, logits = model(images)` of the network of a victim, whose weights it trains.

    The first layer is the victim's InputSpec, the feature the one that it takes, divided by its length where the
    `distance` is the cosine, else by the mean length of the victim's, of drawn images: for long features the steps of
    the head would be too large. The network itself stays in eval mode: in training mode those of others give other
    outputs. With `batch_norm` "live" its batch normalisations alone use, and learn, the statistics of batches. The head
    is linear, and small; see `start_head`. Raises UsageError for a victim without weights or gradients, and for live
    batch normalisation without weights or statistics of its own.
    """

    def __init__(self, victim: Victim, num_classes: int, batch_norm: str = "eval", distance: str = "euclidean") -> None:
        super().__init__()
        self.arch, self.num_classes, self.batch_norm, self.input = victim.arch, num_classes, batch_norm, victim.input
        self.embedding_dim = self.feature_dim = victim.feature_dim
        self.place, self._length = victim.place or (), None if distance == "cosine" else _length(victim)
        self.normalise = nn.Sequential(ImageCheck(), victim.layer)
        self.base = _body(victim)
        self.head = nn.Linear(self.feature_dim, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if batch_norm == "live" and not all(each.affine and each.running_mean is not None for each in self.norms):
            problem = "has batch normalisation without weights or statistics, which cannot be trained live"
            raise UsageError(f"{victim.name or victim.arch} {problem}; use --batch-norm eval")
        for parameter in self.base.parameters():
            parameter.requires_grad_(parameter.is_floating_point())

    @property
    def norms(self) -> list[_BatchNorm]:
        """The batch normalisations of the network."""
        return [layer for layer in self.base.modules() if isinstance(layer, _BatchNorm)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of images (N, 3, H, W) in [0, 1]. Raises UsageError for others, as `features` does."""
        features = self.features(images)
        return features, self.head(self.embedding(features))

    def features(self, images: Tensor) -> Tensor:
        """Features (N, feature_dim) alone."""
        output = self.base(self.normalise(images))
        for key in self.place:
            output = output[key]
        return self._compared(output.flatten(1).float())

    def _compared(self, features: Tensor) -> Tensor:
        return normalize(features) if self._length is None else features / self._length

    def embedding(self, features: Tensor) -> Tensor:
        """The features as they are."""
        return features

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.base.eval()
        if self.batch_norm == "live":
            switch_norms(self.base, mode)
        return self

    @torch.no_grad()
    def start_head(self, features: Tensor, labels: Tensor) -> None:
        """Start the head as the one that names the class of the nearest centroid of features (N, D), as the network
        gives them, with labels (N,).

        Logits are minus half the squared distance, in units of the mean one of a feature to its own centroid.
        """
        features = self._compared(features)
        centroids = torch.stack([features[labels == label].mean(0) for label in range(self.num_classes)])
        unit = (features - centroids[labels]).square().sum(1).mean().clamp(min=1e-12)
        middle = centroids.mean(0)
        weight = (centroids - middle) / unit
        self.head.weight.copy_(weight)
        self.head.bias.copy_(-(weight * (centroids + middle)).sum(1) / 2)


def victim_of(model: nn.Module) -> Victim:
    """A model in training, ours or adopted, as it is now, in the form that is attacked and evaluated."""
    if not isinstance(model, Adopted):
        return Victim(model)
    victim = Victim(model.base, model.input)
    victim.place = model.place
    return victim


@torch.no_grad()
def _length(victim: Victim) -> float:
    """The mean length of a victim's features, of drawn images."""
    images = drawn_images(*victim.input.size).to(victim.layer.mean.device)
    return float(victim(images).norm(dim=1).mean())


def _body(victim: Victim) -> nn.Module:
    """The network of a victim. Raises UsageError where there is nothing in it to train."""
    name, network = victim.name or victim.arch, victim.model
    if not isinstance(network, nn.Module):
        raise UsageError(f"{name} gives scores only, so it cannot be defended; {REMEDY}")
    if not any(parameter.is_floating_point() for parameter in network.parameters()):
        raise UsageError(f"{name} has no weights to train, so it cannot be defended; {REMEDY}")
    if not victim.differentiable:
        raise UsageError(f"{name} gives no gradients, so it cannot be defended; {REMEDY}")
    return network
