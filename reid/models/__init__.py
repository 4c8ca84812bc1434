"""Victims: re-ID networks by name, the frozen form that is attacked, and checkpoints in and out."""

from reid.models.checkpoint import LoadReport, load_checkpoint, load_model, read_checkpoint, save_checkpoint
from reid.models.network import Normalise, ReidModel, create, names
from reid.models.victim import Victim, as_victim, load_victim

__all__ = [
    "LoadReport",
    "Normalise",
    "ReidModel",
    "Victim",
    "as_victim",
    "create",
    "load_checkpoint",
    "load_model",
    "load_victim",
    "names",
    "read_checkpoint",
    "save_checkpoint",
]
