"""Registries: what can be chosen by name, imported when it is asked for, and how a user's own file adds to it."""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from reid.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one `kind`, in words, by name, in the order of the table: name -> ("module:attribute", summary)."""

    def __init__(self, kind: str, table: Mapping[str, tuple[str, str]]) -> None:
        self.kind = kind
        self._places: dict[str, str | T] = {name: place for name, (place, _) in table.items()}
        self._summaries = {name: summary for name, (_, summary) in table.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> T:
        """The thing of this name. Raises UsageError, with the nearest known name, where there is none."""
        if name not in self._places:
            raise unknown(self.kind, name, list(self))
        place = self._places[name]
        if isinstance(place, str):
            self._places[name] = place = _imported(place)
        return place

    def summary(self, name: str) -> str:
        """What the thing of this name does, in one sentence."""
        return self._summaries[name]

    def register(self, name: str, summary: str) -> Callable[[T], T]:
        """A decorator that adds what it decorates. Raises UsageError for a name that is taken."""

        def add(thing: T) -> T:
            if name in self._places:
                raise UsageError(f"a {self.kind} called {name!r} is there already; give yours another name")
            self._places[name], self._summaries[name] = thing, summary
            return thing

        return add


def unknown(kind: str, name: str, known: Sequence[str]) -> UsageError:
    """The error for a name that is not among those `known`, with the nearest of them."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return UsageError(f"no {kind} is called {name!r}; {hint}known: {', '.join(known)}")


def lazy_exports(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose name n is at `places[n]`: "module:attribute", or "module" for a module."""

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, _imported(places[name]))
        return getattr(sys.modules[package], name)

    return get


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    value = importlib.import_module(module)
    return getattr(value, attribute) if attribute else value


def load_plugin(path: str | Path) -> None:
    """Run a user's Python file, once, which registers what is in it. Raises UsageError where it cannot be run."""
    name = str(Path(path).resolve())
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if not Path(path).is_file():
        raise UsageError(f"--plugin {path}: no such file; check the path")
    if spec is None or spec.loader is None:
        raise UsageError(f"--plugin {path} is not a Python file; its name must end in .py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises
        del sys.modules[name]
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--plugin {path} failed: {type(error).__name__}: {error}; mend the file") from error
