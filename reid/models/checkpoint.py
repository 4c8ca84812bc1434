"""Checkpoints of re-ID models, released and ours: read without running their code, loaded with a report."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from torch import Tensor, nn

from reid.errors import CheckpointError, few
from reid.models.architectures import HEAD, RES_META, RES_META_HEAD, layout_of
from reid.models.network import ReidModel, create
from reid.runtime.torchfiles import read_torch, write_torch

logger = logging.getLogger(__name__)

START_OF_RES_META = ("resnet50", RES_META)  # the one (file, model) that differ and still load, with a warning
HEADS = (f"{HEAD}.", f"{RES_META_HEAD}.", "base.fc.")  # the last is that of ImageNet, unused


@dataclass(frozen=True)
class LoadReport:
    """What became of each key. `missing`: in the model only; `unexpected`: in the file only; `mismatched`:
    in both with different shapes. Missing and mismatched tensors of the model keep the values they had."""

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]

    def summary(self) -> str:
        """One line: the counts, and the first names of what was not loaded."""
        others = [f"{len(keys)} {kind} ({few(keys)})" for kind, keys in vars(self).items() if keys and kind != "loaded"]
        return ", ".join([f"{len(self.loaded)} tensors loaded", *others])


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file, bare or under 'state_dict': on the CPU, keys without the prefix `module.`

    Code in the file is never run. Raises CheckpointError when it is missing, damaged, or holds no state dict.
    """
    return read_content(path)[0]


def read_content(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict like `read_checkpoint`, and what the file has besides."""
    content = read_torch(path)
    wrapped = isinstance(content, Mapping) and "state_dict" in content
    state = content["state_dict"] if wrapped else content
    items = state.items() if isinstance(state, Mapping) else [(type(state).__name__, None)]
    strange = [key for key, value in items if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strange or not items:
        what = f"{few(strange)} is no named tensor" if strange else "it is empty"
        raise CheckpointError(f"{path} holds no state dict: {what}; make one with torch.save(model.state_dict(), path)")
    others = {key: value for key, value in content.items() if key != "state_dict"} if wrapped else {}
    return {key.removeprefix("module."): value for key, value in state.items()}, others


def load_checkpoint(model: nn.Module | str | Path, path: str | Path | nn.Module) -> LoadReport:
    """Load a file into a model of `create` (the arguments may come in either order) and report every key.

    A head for another number of classes is left out; a resnet50 file may go into resMeta, with a warning. Raises
    CheckpointError, with the model untouched, when the file is not whole below the head, or for another network.
    """
    if isinstance(model, str | Path):
        model, path = path, model
    if not isinstance(model, ReidModel) or not isinstance(path, str | Path):
        raise TypeError("load_checkpoint takes a model of reid.models.create and the path of a checkpoint")
    state = read_checkpoint(path)
    _check_same_network(layout_of(state, path).arch, model.arch, path)
    return load_state(model, state, path)


def load_model(path: str | Path) -> tuple[ReidModel, LoadReport]:
    """A model made for a file, in eval mode: its keys and shapes give architecture and number of classes.

    Raises CheckpointError like `load_checkpoint`, and for a file without a head.
    """
    state = read_checkpoint(path)
    arch, num_classes = layout_of(state, path)
    if num_classes is None:
        raise CheckpointError(f"{path} has no head to count classes; create a {arch} and use load_checkpoint")
    model = create(arch, num_classes, seed=0).eval()
    return model, load_state(model, state, path)


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], path: str | Path, optional: tuple[str, ...] = HEADS
) -> LoadReport:
    """Load a state dict into any model and report every key; `path` is for the messages.

    Raises CheckpointError, with the model untouched, when a tensor is missing or has another shape, unless its key
    begins with one of `optional` or it counts batches.
    """
    own = model.state_dict()
    shared = [key for key in own if key in state]
    report = LoadReport(
        loaded=[key for key in shared if state[key].shape == own[key].shape],
        missing=[key for key in own if key not in state],
        unexpected=[key for key in state if key not in own],
        mismatched=[key for key in shared if state[key].shape != own[key].shape],
    )
    absent = [key for key in report.missing + report.mismatched if not key.endswith("num_batches_tracked")]
    broken = [key for key in absent if not key.startswith(optional)]
    if broken:
        problem = f"{len(broken)} tensors below the head are missing or have another shape ({few(broken)})"
        raise CheckpointError(f"{path} is not whole: {problem}; download or save it again")
    model.load_state_dict({key: state[key] for key in report.loaded}, strict=False)
    logger.log(logging.WARNING if report.mismatched else logging.INFO, "%s: %s", path, report.summary())
    return report


def save_checkpoint(path: str | Path, model: nn.Module, **metadata: Any) -> Path:
    """Write {'state_dict', 'arch', 'num_classes', **metadata}, whole or not at all; returns the path.

    Metadata are plain values and lists, tuples and dicts of them; numpy numbers become Python's. Raises TypeError for
    anything else.
    """
    if not isinstance(model, ReidModel):
        raise TypeError("save_checkpoint takes a model of reid.models.create")
    content = {
        "state_dict": {key: value.cpu() for key, value in model.state_dict().items()},
        "arch": model.arch,
        "num_classes": model.num_classes,
    }
    if reserved := content.keys() & metadata.keys():
        raise TypeError(f"{few(sorted(reserved))} comes from the model and cannot be metadata")
    content |= {key: _plain(value) for key, value in metadata.items()}
    return write_torch(path, content)


def _check_same_network(file: str, model: str, path: str | Path) -> None:
    if (file, model) == START_OF_RES_META:
        logger.warning(
            "%s is a resnet50 and goes into resMeta, whose stem has no ReLU: a start for a defence, "
            "but not the same features; to evaluate the file itself create resnet50, or use load_model",
            path,
        )
    elif file != model:
        stem = ", whose stem has no ReLU," if file == RES_META else ""
        raise CheckpointError(f"{path} is a {file}{stem} and the model a {model}; create {file}, or use load_model")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (NoneType, bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    if type(value) is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    raise TypeError(f"metadata of a checkpoint must be plain Python values, not {type(value).__name__}")
