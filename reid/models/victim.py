"""The form of a model that is attacked and evaluated: features only, eval mode, frozen, its passes counted."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from reid.errors import UsageError
from reid.models.fold import folded
from reid.models.inputs import InputSpec
from reid.models.network import ReidModel

USUAL_SIZE = (256, 128)


@dataclass(frozen=True)
class Passes:
    """Images that went through a network: forward, and backward to the images."""

    forward: int = 0
    backward: int = 0

    def __add__(self, other: "Passes") -> "Passes":
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __sub__(self, other: "Passes") -> "Passes":
        return Passes(self.forward - other.forward, self.backward - other.backward)


class Victim(nn.Module):
    """`features = victim(images)`: (N, D) from RGB (N, 3, H, W) in [0, 1]; frozen, in eval mode even after `.train()`.

    `model` is a module or any other callable that returns features, or a tuple, list or dict that begins with them. A
    module is copied, so that the caller's own can go on training; the copy of a ReidModel has its batch normalisation
    folded into its convolutions. What is no module is called as it is.

    `input` is the first layer. Without it a ReidModel has its own, and any other model takes images in [0, 1] itself.
    `name` and `sha256` say where the model comes from, `feature` which of its features these are. Raises UsageError
    for a module that cannot be copied.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Any],
        input: InputSpec | None = None,
        *,
        name: str = "",
        sha256: str | None = None,
        feature: str = "",
    ) -> None:
        super().__init__()
        if isinstance(model, ReidModel):
            input = input or model.input
            model = folded(model)
            model.normalise = nn.Identity()  # the layer below does that
        elif isinstance(model, nn.Module):
            model = _copied(model)
        self.name, self.sha256, self.feature = name, sha256, feature
        self.input = input or InputSpec(*USUAL_SIZE, resize=None)
        self.model = model
        self.layer = nn.Identity() if input is None else input.layer().to(self._device())
        self._feature_dim = model.feature_dim if isinstance(model, ReidModel) else None
        self._differentiable: bool | None = None
        self.reset_passes()
        for module in _modules(model):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, D), float, of images (N, 3, H, W), RGB in [0, 1]; raises UsageError when the model gives none.

        Gradients flow to the images if the model is `differentiable`.
        """
        features = self._features(images)
        count = len(images)
        self._forward += count
        if features.requires_grad:
            features.register_hook(lambda _: self._count_backward(count))
        return features

    @property
    def arch(self) -> str:
        """The architecture of the model, or the name of its class."""
        return str(getattr(self.model, "arch", type(self.model).__name__))

    @property
    def feature_dim(self) -> int:
        """D, from an image that is sent through where it is not known yet."""
        if self._feature_dim is None:
            with torch.no_grad():
                self._features(self._probe())
        assert self._feature_dim is not None
        return self._feature_dim

    @property
    def differentiable(self) -> bool:
        """Whether gradients reach the images, from an image that is sent through at the first use."""
        if self._differentiable is None:
            image = self._probe()
            try:
                with torch.enable_grad():
                    self._differentiable = self._features(image.clone().requires_grad_()).requires_grad
            except RuntimeError:  # such as that of .numpy()
                self._features(image)
                self._differentiable = False
        return self._differentiable

    @property
    def passes(self) -> Passes:
        """Images that went through since `reset_passes`, in this process."""
        return Passes(self._forward, self._backward)

    def reset_passes(self) -> None:
        """Count from 0 again."""
        self._forward = self._backward = 0

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: an attack must not move the batch statistics or switch dropout on."""
        for module in _modules(self.model):
            module.eval()
        return super().train(False)

    def _features(self, images: Tensor) -> Tensor:
        images = self.layer(images)
        output = self.model.features(images) if isinstance(self.model, ReidModel) else self.model(images)
        if isinstance(output, Mapping):
            output = next(iter(output.values()), None)
        if isinstance(output, tuple | list):
            output = output[0] if output else None
        if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[0] != len(images):
            kind = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(
                f"model {self.name or self.arch} gives {kind} for {len(images)} images, not features "
                f"({len(images)}, D); wrap it in a function that returns them"
            )
        if output.shape[2:].numel() != 1:
            raise UsageError(
                f"model {self.name or self.arch} gives features of shape {tuple(output.shape)}, which are not pooled; "
                "wrap it in a function that returns (N, D)"
            )
        self._feature_dim = output.shape[1]
        features = output.flatten(1)
        return features if features.dtype in (torch.float32, torch.float64) else features.float()

    def _count_backward(self, count: int) -> None:
        self._backward += count

    def _probe(self) -> Tensor:
        return torch.full((1, 3, self.input.height, self.input.width), 0.5, device=self._device())

    def _device(self) -> torch.device:
        """Where the model is, and has to get its images."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))


def _copied(module: nn.Module) -> nn.Module:
    try:
        with torch.no_grad():  # a TorchScript module clones its weights
            return copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:
        raise UsageError(
            f"a {type(module).__name__} cannot be copied ({error}); give a function that calls it instead, "
            "such as lambda images: model(images)"
        ) from error


def _modules(model: object) -> Iterator[nn.Module]:
    """All modules of a model, those in plain lists, tuples and dicts of its attributes too."""
    seen: set[int] = set()
    left = [model]
    while left:
        item = left.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, nn.Module):
            yield item
            left += [*item.children(), *vars(item).values()]
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list | tuple):
            left += item
