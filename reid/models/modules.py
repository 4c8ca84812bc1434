"""Networks that come as code: timm's, a user's function, TorchScript files and exported programs.

An exported program can run Python code of its own while torch loads it (torch.export.load unpickles), so users name
such a file as `exported:FILE`, which says that they trust it.
"""

import difflib
import importlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reid.errors import CheckpointError, UsageError
from reid.models.checkpoint import load_state, read_checkpoint
from reid.models.graphs import Contract, InBatches
from reid.models.inputs import RESIZES, InputSpec
from reid.models.readings import DISTANCES
from reid.runtime.extras import extra

INPUT_FILE, DISTANCE_FILE = "input.json", "distance"  # in a TorchScript file
FUNCTION = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)(?::(.+))?$")


def load_timm(name: str) -> tuple[nn.Module, InputSpec]:
    """timm's NAME with its published weights, or NAME:FILE with those of a file; features before the head.

    Raises UsageError for an unknown name, CheckpointError where the weights cannot be had.
    """
    timm = extra("timm", "a timm model")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else it speaks, twice, of each try to download
    name, _, path = name.partition(":")
    try:
        model = timm.create_model(name, pretrained=not path, num_classes=0)
    except RuntimeError as error:  # timm's for a name that it does not know
        near = ", ".join(difflib.get_close_matches(name, timm.list_models()))
        raise UsageError(f"timm:{name} is not known to timm ({str(error)[:80]}); it has {near or 'others'}") from error
    except Exception as error:  # whatever a download raises
        problem = f"the weights of timm:{name} cannot be downloaded ({type(error).__name__})"
        raise CheckpointError(f"{problem}; give a file of weights as timm:{name}:FILE") from error
    if path:
        head = tuple(f"{part}." for part in ("fc", "head", "head.fc", "classifier", "head_dist"))
        load_state(model, read_checkpoint(path), path, optional=head)
    settings = timm.data.resolve_model_data_config(model)
    height, width = settings["input_size"][1:]
    resize = settings["interpolation"] if settings["interpolation"] in RESIZES else "bicubic"
    usual = InputSpec(height, width, resize, mean=tuple(settings["mean"]), std=tuple(settings["std"]))
    return model, (path and _input_beside(path)) or usual


def load_function(spec: str) -> tuple[nn.Module | Callable, InputSpec | None]:
    """What `package.module:function` returns when called, and its attribute `input` where that is an InputSpec.

    `package.module:function:FILE` has the weights of a file, and the InputSpec next to that, if there is one. Modules
    in the current folder are found. Raises UsageError for one that is not there, or fails.
    """
    match = FUNCTION.fullmatch(spec)
    assert match is not None
    module, name, path = match.groups()
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        model = getattr(importlib.import_module(module), name)()
    except Exception as error:  # whatever a user's code raises
        raise UsageError(
            f"{spec} failed: {type(error).__name__}: {error}; see --debug, and mend the function"
        ) from error
    if not callable(model):
        raise UsageError(f"{spec} returns {type(model).__name__}; let it return a network, images to features")
    own = getattr(model, "input", None)
    if path:
        if not isinstance(model, nn.Module):
            problem = f"returns a {type(model).__name__}, which takes no weights"
            raise UsageError(f"{module}:{name} {problem}; leave :{path} out")
        load_state(model, read_checkpoint(path), path, optional=())
        own = _input_beside(path) or own
    return model, own if isinstance(own, InputSpec) else None


def load_torchscript(path: str | Path) -> tuple[nn.Module, InputSpec | None, str]:
    """The module in a TorchScript file, the InputSpec that is in it or next to it, and the distance that it states.

    Raises CheckpointError.
    """
    extras: dict[str, Any] = {INPUT_FILE: b"", DISTANCE_FILE: b""}
    load = partial(torch.jit.load, str(path), map_location="cpu", _extra_files=extras)
    module = _loaded(path, "a TorchScript file", load)
    stated = InputSpec.stated(extras[INPUT_FILE], path) or _input_beside(path)
    return module, stated, next((name for name in DISTANCES if name.encode() == extras[DISTANCE_FILE]), DISTANCES[0])


def load_exported(path: str | Path) -> tuple[nn.Module, InputSpec | None, Contract]:
    """The module in an exported program (.pt2), for any batch, the InputSpec next to it, and the size that it wants.

    Raises CheckpointError.
    """
    logging.getLogger("torch.export").setLevel(logging.ERROR)  # else it speaks, too, of a file that it cannot read
    program = _loaded(path, "an exported program", lambda: torch.export.load(str(path)))
    images = [node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(images) != 1 or images[0].ndim != 4:
        listed = ", ".join(str(tuple(each.shape)) for each in images)
        raise CheckpointError(f"{path} takes {listed}, not images (N, 3, H, W); export the part that gives features")
    batch, _, height, width = (side if isinstance(side, int) else None for side in images[0].shape)
    module = program.module()
    return InBatches(module, batch) if batch else module, _input_beside(path), Contract(batch, height, width)


def _input_beside(path: str | Path) -> InputSpec | None:
    """The InputSpec in FILE.json, where that is there."""
    described = Path(f"{path}.json")
    return InputSpec.read(described) if described.is_file() else None


def _loaded(path: str | Path, kind: str, load: Callable[[], Any]) -> Any:
    if not Path(path).is_file():
        raise CheckpointError(f"no such file: {path}; check the path (relative to the current folder)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, that it will not read such files for ever
            return load()
    except Exception as error:  # on damaged bytes the readers raise nearly anything
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path} cannot be read as {kind} by torch {torch.__version__} ({reason})") from error
