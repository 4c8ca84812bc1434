"""Which output of a network is its feature: networks return a tensor, a tuple in either order, a list, a dict."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

Place = tuple[Any, ...]  # the keys that lead to an output, from the outside in

FEATURE_WORDS = ("feat", "emb", "descriptor", "reid", "global", "token", "pool")
LOGIT_WORDS = ("logit", "cls", "class", "score", "prob", "pred")


def features_of(output: Any, count: int) -> dict[Place, Tensor]:
    """All outputs for `count` images that may be features: (count, D), and any axes of size 1."""
    return {
        place: tensor
        for place, tensor in _tensors(output, ())
        if tensor.ndim > 1 and len(tensor) == count and tensor.shape[2:].numel() == 1
    }


def feature_place(outputs: Mapping[Place, Tensor]) -> Place:
    """The likeliest feature: wider than 1, then by name, then as it does not classify another output, then by a width
    that is a multiple of 32, then the first. What classifies can be told where the outputs have a graph."""

    def unlikeliness(place: Place) -> tuple[bool, ...]:
        words = " ".join(map(str, place)).lower()
        feature, logit = (any(word in words for word in known) for known in (FEATURE_WORDS, LOGIT_WORDS))
        width = outputs[place].shape[1]
        named = logit and not feature, not feature or logit
        return width == 1, *named, _classifies(outputs, place), bool(width % 32)

    return min(outputs, key=unlikeliness)


def _classifies(outputs: Mapping[Place, Tensor], place: Place) -> bool:
    """Whether an output is probabilities, or what a linear classifier makes of another one: an affine function of it,
    the same for all images, in which each value comes from several. A batch normalisation is not such."""
    values = outputs[place].flatten(1)
    if (values >= 0).all() and torch.allclose(values.sum(1), values.new_ones(()), atol=1e-3):
        return True
    for other, tensor in outputs.items():
        if other == place or not (values.requires_grad and tensor.requires_grad):
            continue
        with torch.inference_mode(False), torch.enable_grad():
            (slope,) = torch.autograd.grad(values[:, 0].sum(), tensor, retain_graph=True, allow_unused=True)
        if slope is not None and slope[0].count_nonzero() > 1:
            return bool((slope - slope[:1]).abs().max() <= 1e-4 * slope.abs().max())
    return False


def describe(outputs: Mapping[Place, Tensor], chosen: Place) -> str:
    """One line: which output is taken, of which others."""
    if len(outputs) == 1:
        return f"its output of width {outputs[chosen].shape[1]} is taken for the feature"
    widths = ", ".join(f"{_words(place)}: {tensor.shape[1]}" for place, tensor in outputs.items())
    return f"of its outputs ({widths}) {_words(chosen)} is taken for the feature"


def _words(place: Place) -> str:
    return ".".join(map(str, place)) or "the only one"


def _tensors(output: Any, place: Place) -> Iterator[tuple[Place, Tensor]]:
    if isinstance(output, Tensor):
        yield place, output
    elif isinstance(output, Mapping) or hasattr(output, "_asdict"):
        for key, value in (output if isinstance(output, Mapping) else output._asdict()).items():
            yield from _tensors(value, (*place, key))
    elif isinstance(output, tuple | list):
        for key, value in enumerate(output):
            yield from _tensors(value, (*place, key))
