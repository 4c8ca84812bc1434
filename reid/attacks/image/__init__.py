"""Attacks on each image by itself, by name. Adding one is a file here, or a plugin, and a line in IMAGE."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from reid.errors import UsageError
from reid.runtime.registry import Registry

if TYPE_CHECKING:
    from reid.attacks.image.linf import LInf

IMAGE: Registry[type["LInf"]] = Registry(
    "image attack",
    {
        "pgd": ("reid.attacks.image.pgd:PGD", "push each feature away from the clean one (PGD; SMA's objective)"),
        "cosine": ("reid.attacks.image.cosine:CentredCosine", "turn it away, seen from the middle of training images"),
        "smooth-ap": ("reid.attacks.image.ranking:SmoothAP", "lower the average precision; knows the gallery"),
        "margin": ("reid.attacks.image.ranking:Margin", "put strangers before the matches; knows the gallery"),
    },
)


def create(spec: str, **settings: Any) -> "LInf":
    """The attack of a name, with `settings`; what follows the name goes before them: "pgd:steps=50,restarts=3".

    Raises UsageError for an unknown name or setting, and for a value of another kind than the default.
    """
    name, _, words = spec.partition(":")
    kind = IMAGE[name]
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kind)}
    for word in filter(None, words.split(",")):
        key, _, text = word.partition("=")
        if key not in defaults:
            raise UsageError(f"{spec}: {name} has no setting {key!r}, but {', '.join(defaults)}; as in {name}:steps=50")
        try:
            settings[key] = type(defaults[key])(text)
        except ValueError as error:
            raise UsageError(f"{spec}: {key} is a number such as {defaults[key]}, not {text!r}") from error
    return kind(**settings)
