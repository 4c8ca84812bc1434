"""Where the weights lie in what a file holds, and under which names: envelopes and prefixes, in any order."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid.errors import CheckpointError, few
from reid.runtime.pickles import StandIn, stand_ins

State = dict[str, Tensor]
Fits = Callable[[Mapping[str, Tensor]], bool]

WRAPPERS = ("module.", "_orig_mod.")  # of parallel and of compiled networks: they mean nothing
PREFIXES = ("model.", "net.", "network.", "backbone.", "encoder.", "teacher.", "ema.", "student.")
LEFTOVERS = re.compile(r"\w*(criterion|loss|center|metric|memory|queue)", re.IGNORECASE)  # what training keeps besides
RANKS = {  # of several that hold weights, the one of the lowest rank is taken
    **dict.fromkeys(["state_dict", "model", "model_state_dict", "model_state", "net", "net_dict", "network"], 0),
    **dict.fromkeys(["weights", "params", "encoder", "backbone"], 0),
    "teacher": 1,
    **dict.fromkeys(["ema", "ema_state_dict", "model_ema", "state_dict_ema", "params_ema"], 2),
    "student": 3,
}
BARE, OTHER, FEW = 4, 5, 6
DEEPEST = 6  # envelopes in envelopes
MOST_MODULES = 100_000


@dataclass(frozen=True)
class Weights:
    """The named tensors of a file (floats of any precision are float32), the `others` that are in it, how the tensors
    were `found`, in words, and the objects that were `skipped` because they were not made."""

    state: State
    others: dict[str, Any]
    found: str
    skipped: list[str]


@dataclass(frozen=True)
class _Candidate:
    """Tensors below `path`; `holders` are the mappings on the way, the last of them that of the tensors."""

    path: tuple[str, ...]
    holders: tuple[Mapping[Any, Any], ...]
    state: State
    prefixes: tuple[str, ...] = ()
    module: str = ""  # the class of the pickled network that the tensors are from

    @property
    def rank(self) -> int:
        names = [*self.path, *(prefix.rstrip(".") for prefix in self.prefixes)]
        rank = max((RANKS.get(name, OTHER) for name in names), default=0)
        if names or self.module:
            return rank
        return max(rank, BARE if 2 * len(self.state) > len(self.holders[-1]) else FEW)

    @property
    def place(self) -> str:
        under = [f"under {'.'.join(self.path)!r}"] if self.path else []
        module = [f"of a pickled {self.module}"] if self.module else []
        return ", ".join([*under, *module, *(f"without {prefix!r}" for prefix in self.prefixes)])


def find_weights(content: Any, path: str | Path, fits: Fits) -> Weights | None:
    """The weights in the content of the file at `path`: those that `fits` knows, else those under a usual name.

    Prefixes are taken off where that is what makes the keys fit. None where there are no named tensors. Raises
    CheckpointError where several sets of weights are as good as each other.
    """
    all_of_them = [*_candidates(content)]
    fitting = [option for each in all_of_them for option in _fitting(each, fits)]
    pool = sorted(fitting or all_of_them, key=lambda each: each.rank)
    best = [each for each in pool if each.rank == pool[0].rank]
    if len(best) > 1:
        places = few(each.place or "without an envelope" for each in best)
        raise CheckpointError(f"{path} holds several sets of weights ({places}); save the one that you want alone")
    if not pool:
        return None
    chosen, others = best[0], _others(best[0])
    quantised = [key for key, value in chosen.holders[-1].items() if _is_special(value)]
    if quantised:
        raise CheckpointError(f"{path} holds quantised or sparse weights ({few(quantised)}); save the float model")
    alternatives = few(each.place for each in pool[1:]) if fitting else ""
    found = chosen.place + (f"; not those {alternatives}" if alternatives else "")
    state = {key: value.float() if value.is_floating_point() else value for key, value in chosen.state.items()}
    return Weights(state, others, found, [*dict.fromkeys(stand_ins(others))])


def _candidates(
    value: Any, path: tuple[str, ...] = (), above: tuple[Mapping[Any, Any], ...] = ()
) -> Iterator[_Candidate]:
    """Everything that has named tensors, except for the state of optimizers."""
    if isinstance(value, StandIn) and _is_module(value):
        state = _unwrapped(_module_state(value))
        yield _Candidate(path, (*above, {}), state, module=value.origin.rpartition(".")[2])
        return
    holder = dict(enumerate(value)) if isinstance(value, list | tuple) else value
    if not isinstance(holder, Mapping) or "param_groups" in holder or len(path) > DEEPEST:
        return
    named = {_text(key): tensor for key, item in holder.items() if (tensor := _tensor(item)) is not None}
    if state := {key: tensor for key, tensor in named.items() if isinstance(key, str)}:
        yield _Candidate(path, (*above, holder), _unwrapped(state))
    for key, item in holder.items():
        if isinstance(item, Mapping | list | tuple):
            yield from _candidates(item, (*path, str(_text(key))), (*above, holder))


def _fitting(candidate: _Candidate, fits: Fits) -> list[_Candidate]:
    """The candidate with as few prefixes taken off as make it fit, in every way there is."""
    options = [candidate]
    for _ in range(DEEPEST):
        if found := [option for option in options if fits(option.state)]:
            return found
        options = [shorter for option in options for prefix in PREFIXES for shorter in _without(option, prefix)]
    return []


def _without(candidate: _Candidate, prefix: str) -> list[_Candidate]:
    """The candidate without a prefix; none where other parts of a network do not have it."""
    having = [key for key in candidate.state if key.startswith(prefix)]
    others = [key for key in candidate.state if not key.startswith((prefix, *PREFIXES)) and not LEFTOVERS.match(key)]
    state = {key.removeprefix(prefix): value for key, value in candidate.state.items()}
    if not having or others or len(state) < len(candidate.state):
        return []
    return [replace(candidate, state=_unwrapped(state), prefixes=(*candidate.prefixes, prefix))]


def _unwrapped(state: State) -> State:
    while any(key.startswith(WRAPPERS) for key in state):
        shorter = {re.sub("^(module|_orig_mod)[.]", "", key): value for key, value in state.items()}
        if len(shorter) < len(state):
            break
        state = shorter
    return state


def _others(chosen: _Candidate) -> dict[str, Any]:
    """What there is around the weights; of two things with the same name, the outer one."""
    others: dict[str, Any] = {}
    for name, holder in reversed([*zip((*chosen.path, None), chosen.holders, strict=True)]):
        items = {str(_text(key)): item for key, item in holder.items()}
        others |= {key: item for key, item in items.items() if key != name and (name or _tensor(item) is None)}
    return others


def _is_module(value: StandIn) -> bool:
    return isinstance(value.state, Mapping) and {"_parameters", "_buffers", "_modules"} <= value.state.keys()


def _module_state(module: StandIn) -> State:
    """The state dict of a pickled network, from what its modules keep it in."""
    state: State = {}
    left: list[tuple[str, Any]] = [("", module)]
    for _ in range(MOST_MODULES):
        if not left:
            return state
        prefix, each = left.pop()
        if isinstance(each, StandIn) and _is_module(each):
            passing = each.state.get("_non_persistent_buffers_set") or ()
            kept = each.state["_parameters"] | {k: v for k, v in each.state["_buffers"].items() if k not in passing}
            state |= {f"{prefix}{name}": value for name, value in kept.items() if isinstance(value, Tensor)}
            left += [(f"{prefix}{name}.", child) for name, child in reversed(each.state["_modules"].items())]
    return {}


def _is_special(value: Any) -> bool:
    return isinstance(value, StandIn) and value.origin.startswith("torch._utils._rebuild_")


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C", copy=False))
    return value if isinstance(value, Tensor) else None


def _text(key: Any) -> Any:
    """Keys of Python 2 are bytes when a file went through Python 3 with encoding="bytes"."""
    return key.decode("latin1") if isinstance(key, bytes) else key
