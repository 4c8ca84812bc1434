"""Models: re-ID networks by name, checkpoints in and out, and the frozen form of any model that is attacked.

Names are imported when they are asked for: `names()` costs no import of torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from reid.models.architectures import names

if TYPE_CHECKING:
    from reid.models.checkpoint import LoadReport, load_checkpoint, load_model, read_checkpoint, save_checkpoint
    from reid.models.inputs import InputSpec
    from reid.models.load import load_victim
    from reid.models.network import ReidModel, create
    from reid.models.victim import Passes, Victim

_MODULES = {
    "InputSpec": "inputs",
    "LoadReport": "checkpoint",
    "Passes": "victim",
    "ReidModel": "network",
    "Victim": "victim",
    "create": "network",
    "load_checkpoint": "checkpoint",
    "load_model": "checkpoint",
    "load_victim": "load",
    "read_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
}

__all__ = [
    "InputSpec",
    "LoadReport",
    "Passes",
    "ReidModel",
    "Victim",
    "create",
    "load_checkpoint",
    "load_model",
    "load_victim",
    "names",
    "read_checkpoint",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
