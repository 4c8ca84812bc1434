"""Settings that an attack or a defence declares itself: fields of its dataclass, which become command-line options."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def option(default: Any, help: str, *, spelling: str | None = None, **argparses: Any) -> Any:
    """A dataclass field that is also an option; `spelling` is its name on the command line where not --like-this."""
    return dataclasses.field(default=default, metadata={"spelling": spelling, "help": help, **argparses})


def declared(owner: type) -> dict[str, dataclasses.Field]:
    """The options of a dataclass, by field name."""
    return {field.name: field for field in dataclasses.fields(owner) if "help" in field.metadata}


def add_options(parser: argparse._ActionsContainer, owner: type) -> None:
    """Add an option --like-this for each declared field `like_this` that the parser does not have yet."""
    for name, field in declared(owner).items():
        settings = dict(field.metadata)
        spelling = settings.pop("spelling") or f"--{name.replace('_', '-')}"
        if spelling not in parser._option_string_actions:
            parser.add_argument(spelling, dest=name, default=field.default, **settings)


def build(owner: Callable[..., T], values: dict[str, Any], **fixed: Any) -> T:
    """An `owner` with its declared fields from `values`, such as vars() of parsed options, and the others `fixed`."""
    taken = {name: values[name] for name in declared(owner) if name in values}  # type: ignore[arg-type]
    return owner(**taken, **fixed)
