"""Checkpoints of re-ID models, released and ours: read without running their code, loaded with a report."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from torch import Tensor, nn

from reid.errors import CheckpointError, few
from reid.models.architectures import HEAD, RES_META, RES_META_HEAD, Layout, layout_of
from reid.models.network import ReidModel, create
from reid.runtime.envelopes import find_weights
from reid.runtime.torchfiles import read_torch, write_torch

logger = logging.getLogger(__name__)

START_OF_RES_META = ("resnet50", RES_META)  # the one (file, model) that differ and still load, with a warning
RUN_STATE = {"epoch", "settings", "network", "best"}
HEADS = (f"{HEAD}.", f"{RES_META_HEAD}.", "base.fc.")  # the last is that of ImageNet, unused


@dataclass(frozen=True)
class LoadReport:
    """What became of each key. `missing`: in the model only; `unexpected`: in the file only; `mismatched`:
    in both with different shapes. Missing and mismatched tensors of the model keep the values they had.
    `skipped`: objects in the file that are no plain values, with their classes. `found`: where the weights lay."""

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]
    skipped: list[str] = field(default_factory=list)
    found: str = field(default="", compare=False)

    def summary(self) -> str:
        """One line: the counts, and the first names of what was not loaded."""
        kinds = ("missing", "unexpected", "mismatched", "skipped")
        others = [f"{len(keys)} {kind} ({few(keys)})" for kind in kinds if (keys := getattr(self, kind))]
        return ", ".join([f"{len(self.loaded)} tensors loaded", *[self.found] * bool(self.found), *others])


@dataclass(frozen=True)
class Checkpoint:
    """A file, read once: its state dict, `content` (what it has besides), and what a LoadReport says of it."""

    path: Path
    state: dict[str, Tensor]
    content: dict[str, Any]
    found: str = ""
    skipped: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path) -> "Checkpoint":
        """Floats become float32, on the CPU. Code in the file is never run.

        Raises CheckpointError when it is missing, damaged, of another kind, or holds no state dict, or several.
        """
        content = read_torch(path)
        if isinstance(content, Mapping) and content.keys() >= RUN_STATE:
            raise CheckpointError(f"{path} is the state of a training run; give the model_best.pth next to it")
        weights = find_weights(content, path, lambda state: family_of(state) is not None)
        if weights is None:
            what = few(content) if isinstance(content, Mapping) and content else type(content).__name__
            remedy = "make one with torch.save(model.state_dict(), path)"
            raise CheckpointError(f"{path} holds no state dict: no named tensors in it ({what}); {remedy}")
        if weights.found or weights.skipped:
            logger.info("%s: weights %s; skipped: %s", path, weights.found or "bare", few(weights.skipped) or "nothing")
        return cls(Path(path), weights.state, weights.others, weights.found, weights.skipped)

    @property
    def trained_size(self) -> tuple[int, int] | None:
        """Height and width of the images on which the model was trained, where the file says so."""
        height, width = self.content.get("height"), self.content.get("width")
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    @property
    def layout(self) -> Layout:
        """Which network of this project it is for. Raises CheckpointError where it is for none."""
        family = family_of(self.state)
        if family not in (None, "resnet"):
            remedy = "it can be evaluated and attacked, as a victim (models.load_victim), but not trained"
            raise CheckpointError(f"{self.path} is a model of the family {family}, no ResNet of this project; {remedy}")
        return layout_of(self.state, self.path)

    def into(self, model: ReidModel) -> LoadReport:
        """Load it like `load_checkpoint`."""
        _check_same_network(self.layout.arch, model.arch, self.path)
        report = replace(load_state(model, self.state, self.path), skipped=self.skipped, found=self.found)
        if not report.mismatched:
            logger.info("%s: %s", self.path, report.summary())
        return report


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file, wherever it lies in it: float32, on the CPU, keys without prefixes such as `module.`

    Code in the file is never run. Raises CheckpointError when it is missing, damaged, or holds no state dict.
    """
    return Checkpoint.read(path).state


def load_checkpoint(model: nn.Module | str | Path, path: str | Path | nn.Module) -> LoadReport:
    """Load a file into a model of `create` (the arguments may come in either order) and report every key.

    A head for another number of classes is left out; a resnet50 file may go into resMeta, with a warning. Raises
    CheckpointError, with the model untouched, when the file is not whole below the head, or for another network.
    """
    if isinstance(model, str | Path):
        model, path = path, model
    if not isinstance(model, ReidModel) or not isinstance(path, str | Path):
        raise TypeError("load_checkpoint takes a model of reid.models.create and the path of a checkpoint")
    return Checkpoint.read(path).into(model)


def load_model(path: str | Path) -> tuple[ReidModel, LoadReport]:
    """A model made for a file, in eval mode: its keys and shapes give architecture and number of classes.

    Raises CheckpointError like `load_checkpoint`, and for a file without a head.
    """
    checkpoint = Checkpoint.read(path)
    arch, num_classes = checkpoint.layout
    if num_classes is None:
        raise CheckpointError(f"{path} has no head to count classes; create a {arch} and use load_checkpoint")
    model = create(arch, num_classes, seed=0).eval()
    return model, checkpoint.into(model)


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], path: str | Path, optional: tuple[str, ...] = HEADS
) -> LoadReport:
    """Load a state dict into any model and report every key; `path` is for the messages.

    Raises CheckpointError, with the model untouched, when a tensor is missing, has another shape, or integers for
    floats, unless its key begins with one of `optional` or it counts batches.
    """
    own = model.state_dict()
    shared = [key for key in own if key in state]
    fits = {key: state[key].shape == own[key].shape for key in shared}
    report = LoadReport(
        loaded=[key for key in shared if fits[key]],
        missing=[key for key in own if key not in state],
        unexpected=[key for key in state if key not in own],
        mismatched=[key for key in shared if not fits[key]],
    )
    if integers := [key for key in report.loaded if own[key].is_floating_point() > state[key].is_floating_point()]:
        raise CheckpointError(f"{path} has integers in place of weights ({few(integers)}); save the float model")
    absent = [key for key in report.missing + report.mismatched if not key.endswith("num_batches_tracked")]
    broken = [key for key in absent if not key.startswith(optional)]
    if broken:
        problem = f"{len(broken)} tensors below the head are missing or have another shape ({few(broken)})"
        raise CheckpointError(f"{path} is not whole: {problem}; download or save it again")
    model.load_state_dict({key: state[key] for key in report.loaded}, strict=False)
    if report.mismatched:
        logger.warning("%s: %s", path, report.summary())
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


def family_of(state: Mapping[str, Tensor]) -> str | None:
    """The name of the family that the keys are of, the last registered of several that fit."""
    from reid.models.families import FAMILIES  # its families import this module

    return next((name for name in reversed([*FAMILIES]) if FAMILIES[name]().matches(state)), None)


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
