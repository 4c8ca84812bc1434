"""Damages and confusions of the state dict of a file: each is loaded right, or refused."""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]
COUNTER = "num_batches_tracked"
PLACES = 7  # of the tensors, evenly spaced, that are damaged one by one


def harmless(state: State, head: str) -> dict[str, State]:
    """The same weights, saved in other ways: name -> state. `head` begins the keys that features do not need."""
    body = {key: value for key, value in state.items() if not key.startswith(head)}
    weights = {key: value for key, value in state.items() if key.startswith(head) and value.ndim == 2}
    return {
        "as it is": state,
        "float64": _mapped(state, lambda value: value.double() if value.is_floating_point() else value),
        "float16": _mapped(state, lambda value: value.half() if value.is_floating_point() else value),
        "another order of keys": dict(sorted(state.items(), reverse=True)),
        "another layout in memory": _mapped(state, lambda value: value.mT.contiguous().mT if value.ndim > 1 else value),
        "no counters of batches": {key: value for key, value in state.items() if not key.endswith(COUNTER)},
        "counters as floats": {key: value.float() if key.endswith(COUNTER) else value for key, value in state.items()},
        "weights that require gradients": _mapped(
            state, lambda value: value.clone().requires_grad_() if value.is_floating_point() else value
        ),
        "no head": body,
        "a head for other identities": {**state, **{key: value[:5] for key, value in weights.items()}},
        "a head for no identity": {**state, **{key: value[:0] for key, value in weights.items()}},
        "a head of another width": {**state, **{key: value[:, :7] for key, value in weights.items()}},
    }


def harmful(state: State, needed: list[str]) -> dict[str, State]:
    """Weights that are lost, strange or of another network: name -> state. `needed` are the keys of our network."""
    places = [needed[index * (len(needed) - 1) // (PLACES - 1)] for index in range(PLACES)]
    stages = sorted({key.partition(".")[0] for key in needed})
    blocks = sorted({found[1] for key in needed if (found := re.match(r"(.*?\.\d+)\.", key))})[:6]
    last, first = needed[-1], next(key for key in needed if state[key].ndim == 4)
    shaping = [first, *(key for key in needed if state[key].ndim == 2)]  # the network's shape may come from these
    swapped = {key: f"backbone.{key}" for key in state}
    return {
        **{f"without {key}": {k: value for k, value in state.items() if k != key} for key in places},
        **{f"{key} cut": {**state, key: state[key][:1] if len(state[key]) > 1 else state[key][:0]} for key in places},
        **{f"{key} of more dimensions": {**state, key: state[key][None]} for key in places},
        **{f"{key} emptied": {**state, key: state[key][:0]} for key in shaping},
        **{f"{key} a number": {**state, key: state[key].sum()} for key in shaping},
        **{f"{key} of whole numbers": {**state, key: state[key].to(torch.int8)} for key in places[::2]},
        **{f"{key} renamed": {f"{k}_old" if k == key else k: v for k, v in state.items()} for key in places[::2]},
        **{f"without {part}.*": _without(state, f"{part}.") for part in (*stages, *blocks)},
        **{f"two of {part}.*": {**state, **_again(state, part)} for part in blocks},
        **{
            f"{key} besides": {**state, key: torch.ones(1)}
            for key in ("pool.p", "NL_1.0.g.weight", "bottleneck.weight", "part_token1", "sie_embed", f"{last}_mask")
        },
        "keys of a backbone": {swapped[key]: value for key, value in state.items()},
        "half of the keys of a backbone": {
            key if place % 2 else swapped[key]: value for place, (key, value) in enumerate(state.items())
        },
        "one channel": {**state, first: state[first][:, :1]},
        "four channels": {**state, first: torch.cat([state[first], state[first][:, :1]], 1)},
        "another first kernel": {**state, first: state[first][..., 1:, 1:]},
    }


def _mapped(state: State, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {key: change(value) for key, value in state.items()}


def _without(state: State, part: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(part)}


def _again(state: State, part: str) -> dict[str, Tensor]:
    """The tensors of a block under a number that is one too high for its stage."""
    stage = part.rpartition(".")[0]
    return {key.replace(part, f"{stage}.99", 1): value for key, value in state.items() if key.startswith(f"{part}.")}
