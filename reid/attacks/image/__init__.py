"""Attacks on each image by itself, by name. Adding one is a file here, or a plugin, and a line in IMAGE."""

from typing import TYPE_CHECKING, Any

from reid.errors import UsageError
from reid.runtime.registry import Registry

if TYPE_CHECKING:
    from reid.attacks.image.linf import LInf

IMAGE: Registry[type["LInf"]] = Registry(
    "image attack",
    {"pgd": ("reid.attacks.image.pgd:PGD", "push each feature away from the clean one (PGD; SMA's objective)")},
)


def create(spec: str, **settings: Any) -> "LInf":
    """The attack of a name, with `settings`; the name may be followed by others: "pgd:steps=50,restarts=3".

    Raises UsageError for an unknown name, an unknown setting, or a value that is no number.
    """
    name, _, words = spec.partition(":")
    kind = IMAGE[name]
    for word in filter(None, words.split(",")):
        key, _, text = word.partition("=")
        try:
            settings[key] = int(text) if text.lstrip("-").isdigit() else float(text)
        except ValueError as error:
            raise UsageError(f"{spec}: {word} is not a setting; write it as pgd:steps=50,restarts=3") from error
    try:
        return kind(**settings)
    except TypeError as error:
        fields = ", ".join(kind.__dataclass_fields__)
        raise UsageError(f"{spec}: {name} has the settings {fields} ({error})") from error
