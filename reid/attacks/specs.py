"""Attacks on single images by their specs: a name, then settings, as in "pgd:steps=50,restarts=3"."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Union

from reid.attacks.image import IMAGE
from reid.attacks.search import SEARCH
from reid.errors import UsageError
from reid.runtime.registry import unknown

if TYPE_CHECKING:
    from reid.attacks.image.linf import LInf
    from reid.attacks.search.square import Square

TRUTH = {"true": True, "false": False}


def create(spec: str, **settings: Any) -> Union["LInf", "Square"]:
    """The attack of a name, of IMAGE or SEARCH, with `settings`; those of the spec go before them.

    Raises UsageError for an unknown name or setting, and for a value of another kind than the default.
    """
    name, _, words = spec.partition(":")
    if name not in IMAGE and name not in SEARCH:
        raise unknown("image attack", name, [*IMAGE, *SEARCH])
    kind = SEARCH[name] if name in SEARCH else IMAGE[name]
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kind)}
    for word in filter(None, words.split(",")):
        key, _, text = word.partition("=")
        if key not in defaults:
            raise UsageError(f"{spec}: {name} has no setting {key!r}, but {', '.join(defaults)}; as in pgd:steps=50")
        try:
            settings[key] = _value(text, defaults[key])
        except (KeyError, ValueError, ZeroDivisionError) as error:
            wanted = "true or false" if isinstance(defaults[key], bool) else f"a number such as {defaults[key]}"
            raise UsageError(f"{spec}: {key} is {wanted}, not {text!r}") from error
    try:
        return kind(**settings)
    except UsageError as error:
        raise UsageError(f"{spec}: {error}") from error


def _value(text: str, default: Any) -> Any:
    """A setting as its default is: true or false, a whole number, or a number such as 0.5 or 8/255."""
    if isinstance(default, bool):
        return TRUTH[text.lower()]
    if isinstance(default, float):
        numerator, _, denominator = text.partition("/")
        return float(numerator) / float(denominator or 1)
    return type(default)(text)
