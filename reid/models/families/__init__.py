"""Families of models, each with layouts of checkpoints that it knows by their keys."""

from reid.models.families.base import Family
from reid.runtime.registry import Registry

FAMILIES: Registry[type[Family]] = Registry(
    "model family",
    {"resnet": ("reid.models.families.resnet:ResNetFamily", "the ResNets and resMeta of this project")},
)

__all__ = ["FAMILIES", "Family"]
