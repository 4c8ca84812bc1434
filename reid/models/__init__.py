"""Models: re-ID networks by name, checkpoints in and out, and the frozen form of any model that is attacked."""

from typing import TYPE_CHECKING

from reid.models.architectures import names
from reid.runtime.registry import lazy_exports

if TYPE_CHECKING:
    from reid.models.checkpoint import LoadReport, load_checkpoint, load_model, read_checkpoint, save_checkpoint
    from reid.models.inputs import InputSpec
    from reid.models.load import load_victim, load_zoo
    from reid.models.network import ReidModel, create
    from reid.models.victim import Passes, Victim
    from reid.models.zoo.entries import list_zoo

__all__ = ["InputSpec", "LoadReport", "Passes", "ReidModel", "Victim", "create"]
__all__ += ["list_zoo", "load_checkpoint", "load_model", "load_victim", "load_zoo", "names", "read_checkpoint"]
__all__ += ["save_checkpoint"]
__getattr__ = lazy_exports(
    __name__,
    {
        "InputSpec": "reid.models.inputs:InputSpec",
        "LoadReport": "reid.models.checkpoint:LoadReport",
        "Passes": "reid.models.victim:Passes",
        "ReidModel": "reid.models.network:ReidModel",
        "Victim": "reid.models.victim:Victim",
        "create": "reid.models.network:create",
        "list_zoo": "reid.models.zoo.entries:list_zoo",
        "load_checkpoint": "reid.models.checkpoint:load_checkpoint",
        "load_model": "reid.models.checkpoint:load_model",
        "load_victim": "reid.models.load:load_victim",
        "load_zoo": "reid.models.load:load_zoo",
        "read_checkpoint": "reid.models.checkpoint:read_checkpoint",
        "save_checkpoint": "reid.models.checkpoint:save_checkpoint",
    },
)
