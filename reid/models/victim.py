"""The form of a model that is attacked and evaluated: features only, eval mode, frozen, its passes counted."""

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reid.errors import UsageError
from reid.models.checks import ImageCheck
from reid.models.drawn import drawn_images
from reid.models.inputs import InputSpec
from reid.models.network import ReidModel
from reid.models.outputs import Place, describe, feature_place, features_of
from reid.models.stem import quicken

ANY_SIZE = InputSpec(256, 128, resize=None)


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

    `model` is a module, which is copied, or any callable that returns features, or a tuple, list or dict with them.
    Without `input` a ReidModel has its own, and any other model takes images in [0, 1]. `passes` counts images in this
    process since `reset_passes`; `met` are the hashes of perturbation files that the model was trained on, as far as
    its file says them. Raises UsageError for a module that cannot be copied.
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
        self.name, self.sha256, self.feature, self.met = name, sha256, feature, ""
        self.reading, self.distance = "", "euclidean"  # how images are given to it, and features compared: see Source
        self.close: tuple[str, ...] = ()  # readings that are as good, as far as they were tried
        self.model = _copied(model) if isinstance(model, nn.Module) else model
        if isinstance(self.model, ReidModel):
            input = input or self.model.input
            self.model.normalise = nn.Identity()  # `check` and `layer` do that
        self.check = ImageCheck()
        self.input = input or ANY_SIZE
        self.layer = self.input.layer().to(next((p.device for p in self.parameters()), None))
        self.place: Place | None = None  # of the feature among the outputs, known after the first images
        self.output, self.fingerprint = "", ""  # which of several outputs it is, in words; see reid.models.trial
        self.introduction: list[str] = []  # what became of its file, as the log says it
        self.reset_passes()
        registered = set(self.modules())  # the others, in plain lists and dicts, are to be frozen and moved too
        self.hidden = nn.ModuleList(module for module in _modules(self.model) if module not in registered)
        quicken(self)
        for parameter in self.requires_grad_(False).eval().parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Raises UsageError for what are no images in [0, 1], and for a model that gives no features."""
        features, count = self._features(self.check(images)), len(images)
        self.passes += Passes(forward=count)

        def count_backward(_: Tensor) -> None:
            self.passes += Passes(backward=count)

        if images.requires_grad and features.requires_grad:
            features.register_hook(count_backward)
        return features

    @property
    def arch(self) -> str:
        """The architecture of the model, or the name of its class."""
        return str(getattr(self.model, "arch", type(self.model).__name__))

    @cached_property
    def feature_dim(self) -> int:
        """D, from an image that is sent through at the first use unless the model says it."""
        if isinstance(self.model, ReidModel):
            return self.model.feature_dim
        with torch.no_grad():
            return self._features(self._probe()[:1]).shape[1]

    @cached_property
    def differentiable(self) -> bool:
        """Whether gradients reach images, finite and not all zero, from drawn ones that go through at the first use."""
        with torch.inference_mode(False), torch.enable_grad():
            images = self._probe().requires_grad_()
            try:
                features = self._features(images)
                some = torch.arange(features.shape[1]).to(features).cos()  # the sum of normalised values is constant
                (gradient,) = torch.autograd.grad((features @ some).sum(), images, allow_unused=True)
            except RuntimeError:  # there is no graph, or .numpy() refuses one
                self._features(images.detach())  # raises what has another reason
                return False
            return gradient is not None and any(bool(each.isfinite().all() and each.any()) for each in gradient)

    def reset_passes(self) -> None:
        self.passes = Passes()

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: an attack must not move the batch statistics or switch dropout on."""
        return super().train(False)

    def _features(self, images: Tensor) -> Tensor:
        output, count = self._run(images), len(images)
        found = features_of(output, count)
        if self.place is None and len(found) > 1:
            found_again = self._with_graph() or found
            self.place = feature_place(found_again)
            self.output = describe(found_again, self.place)
        elif self.place is None and found:
            (self.place,) = found
        if self.place not in found:
            kind = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            problem = f"gives {kind} for {count} images, not pooled features ({count}, D)"
            raise UsageError(f"model {self.name or self.arch} {problem}; wrap it in a function that returns them")
        features = found[self.place].flatten(1)
        return features.to(torch.promote_types(features.dtype, torch.float32))

    def _run(self, images: Tensor) -> Any:
        run = self.model.features if isinstance(self.model, ReidModel) else self.model
        return run(self.layer(images))

    def _with_graph(self) -> dict[Place, Tensor]:
        """The outputs for drawn images, which show how they come from each other; none where there are no gradients."""
        with torch.inference_mode(False), torch.enable_grad(), contextlib.suppress(RuntimeError):
            images = self._probe()
            return features_of(self._run(images.requires_grad_()), len(images))
        return {}

    def _probe(self) -> Tensor:
        device = next(chain(self.parameters(), self.buffers())).device
        return drawn_images(*self.input.size).to(device)


def folded(model: ReidModel) -> ReidModel:
    """A copy of `model`, in eval mode, whose batch normalisations of the body are merged into its convolutions.

    Features stay the same up to rounding; the keys of the state dict do not, so a folded model is for running only.
    """
    model = copy.deepcopy(model).eval()
    for parent in list(model.base.modules()):
        for (first, convolution), (second, norm) in pairwise(list(parent.named_children())):  # registered in turn
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, _BatchNorm):
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm))
                setattr(parent, second, nn.Identity())
    return model


def _copied(module: nn.Module) -> nn.Module:
    try:
        with torch.no_grad():  # a TorchScript module clones its weights
            return folded(module) if isinstance(module, ReidModel) else copy.deepcopy(module)
    except (RuntimeError, TypeError) as error:
        remedy = "give a function that calls it, such as lambda images: model(images)"
        raise UsageError(f"a {type(module).__name__} cannot be copied ({error}); {remedy}") from error


def _modules(model: object) -> list[nn.Module]:
    """All modules of a model, those in plain lists, tuples and dicts of its attributes too."""
    seen: dict[int, object] = {}
    left = [model]
    while left:
        item = left.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        if isinstance(item, nn.Module):
            left += [*item.children(), *vars(item).values()]
        elif isinstance(item, dict):
            left += item.values()
        elif isinstance(item, list | tuple):
            left += item
    return [item for item in seen.values() if isinstance(item, nn.Module)]
