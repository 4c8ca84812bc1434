"""Which output of a network is its feature: networks return a tensor, a tuple in either order, a list, a dict."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

Place = tuple[Any, ...]  # the keys that lead to an output, from the outside in

FEATURE_WORDS = ("feat", "emb", "descriptor", "reid", "global")
LOGIT_WORDS = ("logit", "cls", "class", "score", "prob", "pred")


def features_of(output: Any, count: int) -> dict[Place, Tensor]:
    """All outputs for `count` images that may be features: (count, D), with D above 1, after any places of size 1."""
    return {
        place: tensor.flatten(1)
        for place, tensor in _tensors(output, ())
        if tensor.ndim > 1 and len(tensor) == count and tensor.shape[1] > 1 and tensor.shape[2:].numel() == 1
    }


def feature_place(outputs: Mapping[Place, Tensor]) -> Place:
    """The likeliest feature: by name, then by a width that is a multiple of 32, then the first."""

    def unlikeliness(place: Place) -> tuple[bool, bool, bool]:
        words = " ".join(map(str, place)).lower()
        named, other = (any(word in words for word in known) for known in (FEATURE_WORDS, LOGIT_WORDS))
        return other, not named, bool(outputs[place].shape[1] % 32)

    return min(outputs, key=unlikeliness)


def at(output: Any, place: Place) -> Any:
    """The output at a place."""
    for key in place:
        output = output[key]
    return output


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
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors(value, (*place, key))
    elif isinstance(output, tuple | list):
        for key, value in enumerate(output):
            yield from _tensors(value, (*place, key))
