"""Attacker files: ours, the released ones, and what other systems and tools write."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from reid.attacks.formats import cube, png
from reid.attacks.formats.arrays import additive_image
from reid.attacks.threat import Threat, format_budget, parse_budget
from reid.attacks.universal.perturbations import Perturbation, create
from reid.errors import CheckpointError, UsageError, few
from reid.runtime.containers import kind_of
from reid.runtime.envelopes import find_weights
from reid.runtime.torchfiles import read_torch, write_torch

logger = logging.getLogger(__name__)

RELEASED_BUDGET = 8 / 255  # released files do not say theirs; this is what the released scripts use

NOISE_TYPES = {
    frozenset({"layer_00.xform.xform_params", "layer_01.delta"}): 0,
    frozenset({"xform.xform_params"}): 1,
    frozenset({"delta"}): 2,
}


def save(path: str | Path, noise: Perturbation, provenance: dict[str, Any]) -> Path:
    """Write an attacker file, whole or not at all: state dict (projected, on the CPU), noise type, threat, and the
    `provenance`, plain values (as in JSON) that say how it was made. Returns its path."""
    state = noise.projected(noise.state_dict())
    content = {
        "state_dict": {name: value.cpu() for name, value in state.items()},
        "noise_type": noise.noise_type,
        "threat": noise.threat.to_dict(),
        "provenance": json.loads(json.dumps(provenance)),
    }
    return write_torch(path, content)


def load(path: str | Path, eps: float | str | None = None, unit: str | None = None) -> Perturbation:
    """Read an attacker file, on the CPU, projected into its budget. The noise type follows from its content.

    Taken are our files, released files (a bare state dict), and of other projects and tools: single additive images as
    numpy or torch save them, alone or under a usual name, see `additive_image`; PNG pictures of one, which need `eps`;
    .cube files of a colour table. `eps` is the budget per component; without it, that of the file, or 8/255 where the
    file does not say. `unit` is what an array counts in, one of `reid.attacks.formats.UNITS`; without it, it must be
    certain. Raises CheckpointError for any other file, UsageError for an `eps` or `unit` that cannot be, or is missing.
    """
    path = Path(path)
    if not os.path.exists(path):  # which is False, too, for a name that no file can have
        raise CheckpointError(f"no such perturbation file: {path}; check the path (relative to the current folder)")
    budget = None if eps is None else parse_budget(eps)
    state, others, is_foreign = _contents(path, budget, unit)
    threat = _threat(others, budget, path)
    delta: Any = state.get("delta", state.get("layer_01.delta"))
    height, width = delta.shape[2:] if isinstance(delta, Tensor) and delta.ndim == 4 else (256, 128)
    noise = create(NOISE_TYPES[frozenset(state)], threat.eps_color, threat.eps_delta, height, width, threat.side)
    start = noise.state_dict()
    _check_values(state, start, path)
    largest = max((value - start[name]).abs().max().item() for name, value in state.items())
    if is_foreign and largest > threat.eps_component + 1e-4:
        allowed = format_budget(threat.eps_component)
        logger.warning("%s changes images by up to %s; it is cut to %s", path, format_budget(largest), allowed)
    noise.load_state_dict(state)
    if isinstance(others.get("provenance"), dict):
        noise.provenance = others["provenance"]
    return noise.project_()


def _contents(path: Path, eps: float | None, unit: str | None) -> tuple[Mapping[str, Any], Mapping[str, Any], bool]:
    """State dict, what else is in the file, and whether the first is made of what other projects or tools write."""
    if drawn := _drawn(path, eps):
        _refuse_unit(path, unit)
        return drawn, {}, True
    content = read_torch(path)
    weights = find_weights(content, path, lambda state: frozenset(state) in NOISE_TYPES)
    state, others = (weights.state, weights.others) if weights else ({}, {})
    image = None if "threat" in others else additive_image(state or content, path, unit, eps)
    if image is not None:
        return {"delta": image}, others, True
    if frozenset(state) not in NOISE_TYPES:
        held = state or (content if isinstance(content, Mapping) else {})
        contents = few(held) if held else f"no entries ({type(content).__name__})"
        raise CheckpointError(
            f"{path} is not a perturbation file: it holds {contents}, not what noise type 0, 1 or 2 has; "
            "give a file that metaAttack.py or the released code wrote"
        )
    _refuse_unit(path, unit)
    return state, others, False


def _drawn(path: Path, eps: float | None) -> dict[str, Tensor]:
    """The state dict of a picture or a .cube file; empty for other files."""
    kind = kind_of(path)
    if kind == "picture" and png.is_png(path):
        return {"delta": png.read(path, eps)}
    if kind in ("text", "unknown") and cube.is_cube(path):
        return {"xform.xform_params": cube.read(path)}
    return {}


def _refuse_unit(path: Path, unit: str | None) -> None:
    if unit:
        raise UsageError(f"{path} is no plain array, and what its values count in is certain; leave --unit out")


def _threat(content: Mapping[str, Any], budget: float | None, path: Path) -> Threat:
    if "threat" not in content:
        budget = RELEASED_BUDGET if budget is None else budget
        return Threat(budget, budget)
    try:
        threat = Threat.from_dict(content["threat"])
    except UsageError as error:
        raise CheckpointError(f"{path} states no usable threat: {error}") from error
    return threat if budget is None else Threat(budget, budget, threat.side)


def _check_values(state: Mapping[str, Any], expected: Mapping[str, Tensor], path: Path) -> None:
    for name, parameter in expected.items():
        value, shape = state[name], list(parameter.shape)
        actual = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if actual != shape or not value.numel():
            raise CheckpointError(f"{path} is not a perturbation file: {name} is {actual}, not {shape}")
        if not (value.is_floating_point() and value.isfinite().all() and value.abs().max() <= 2):
            raise CheckpointError(
                f"{path}: {name} holds values that are no finite numbers in image units, [0, 1]; "
                "divide by 255 what is in grey levels"
            )
