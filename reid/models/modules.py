"""Networks that come as code: timm's, a user's function, TorchScript files and exported programs.

An exported program can run Python code of its own while torch loads it (torch.export.load unpickles), so users name
such a file as `exported:FILE`, which says that they trust it.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reid.errors import CheckpointError, UsageError
from reid.models.checkpoint import load_state, read_checkpoint
from reid.models.inputs import RESIZES, InputSpec
from reid.runtime.extras import extra

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


def load_timm(name: str) -> tuple[nn.Module, InputSpec]:
    """timm's NAME with its published weights, or NAME:FILE with those of a file; features before the head.

    Raises UsageError for an unknown name, CheckpointError where the weights cannot be had.
    """
    timm = extra("timm", "a timm model")
    name, _, path = name.partition(":")
    try:
        model = timm.create_model(name, pretrained=not path, num_classes=0)
    except RuntimeError as error:  # timm's for a name that it does not know
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:3])
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
    return model, InputSpec(height, width, resize, mean=tuple(settings["mean"]), std=tuple(settings["std"]))


def load_function(spec: str) -> tuple[nn.Module | Callable, InputSpec | None]:
    """What `package.module:function` returns when called, and its attribute `input` where that is an InputSpec.

    Modules in the current folder are found. Raises UsageError for one that is not there, or fails.
    """
    module, _, name = spec.partition(":")
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
    return model, own if isinstance(own, InputSpec) else None


def load_torchscript(path: str | Path) -> nn.Module:
    """The module in a TorchScript file. Raises CheckpointError."""
    return _loaded(path, "a TorchScript file", lambda: torch.jit.load(str(path), map_location="cpu"))


def load_exported(path: str | Path) -> nn.Module:
    """The module in an exported program (.pt2). Raises CheckpointError."""
    return _loaded(path, "an exported program", lambda: torch.export.load(str(path)).module())


def _loaded(path: str | Path, kind: str, load: Callable[[], Any]) -> nn.Module:
    if not Path(path).is_file():
        raise CheckpointError(f"no such file: {path}; check the path (relative to the current folder)")
    try:
        return load()
    except Exception as error:  # on damaged bytes the readers raise nearly anything
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path} cannot be read as {kind} by torch {torch.__version__} ({reason})") from error
