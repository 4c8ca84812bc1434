"""Families of models, each with layouts of checkpoints that it knows by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from reid.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from reid.models.checkpoint import LoadReport
    from reid.models.inputs import InputSpec


class Family(Protocol):
    """A family is made without arguments, and asked about the state dict of a file (keys without `module.`)."""

    feature: ClassVar[str]
    """Which feature its models give, in words: the one that their authors evaluate."""

    def matches(self, state: Mapping[str, Tensor]) -> bool:
        """Whether the keys are those of this family and of no other."""

    def build(self, state: Mapping[str, Tensor], path: str | Path) -> tuple[nn.Module, LoadReport]:
        """The network with the weights of the file, images to features (N, D), and what became of each key.

        It may have a name for tables, `arch`. Raises CheckpointError, which names `path`, for a file that is not whole;
        `reid.models.checkpoint.load_state` does that.
        """

    def input(self, state: Mapping[str, Tensor], content: Mapping[str, Any]) -> InputSpec:
        """What the network takes. `content` is all of the file but the state dict."""


FAMILIES: Registry[type[Family]] = Registry(
    "model family",
    {"resnet": ("reid.models.families.resnet:ResNetFamily", "the ResNets and resMeta of this project")},
)
