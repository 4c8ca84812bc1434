"""Where raw files come from: folders, or archives as if they were folders.

Names are '/'-separated and relative to `where`, such as raw/Market.zip/query/0001_c1s1_001051_00.jpg. Hidden files, the
`._` twins of macOS and `__MACOSX` are left out.
"""

import os
import posixpath
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reid.datasets.archive import Archive, is_archive
from reid.errors import DatasetError

_DEEPEST = 9


def is_image(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg", ".png", ".bmp"))


class Source(ABC):
    """A sorted list of file names below `where`."""

    def __init__(self, where: Path, names: Iterable[str]) -> None:
        self.where = where
        self.names = sorted(name for name in names if not _hidden(name))

    def describe(self, name: str) -> str:
        """The name as a user finds it: a path, which may lead into an archive."""
        return str(self.where / name)

    def images(self, folder: str) -> list[str]:
        """Names of the images directly in a folder, which may be spelt in another case."""
        return [name for name in self.all_images() if posixpath.dirname(name).lower() == folder.lower()]

    def all_images(self) -> list[str]:
        return [name for name in self.names if is_image(name)]

    def archives(self) -> list[str]:
        return [name for name in self.names if is_archive(name)]

    def lines(self, name: str) -> list[str]:
        """The non-empty lines of a file. Raises DatasetError when it is not text."""
        try:
            return [line.strip() for line in self.read(name).decode("utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.describe(name)} is not a text file; get the dataset again") from error

    @abstractmethod
    def read(self, name: str) -> bytes: ...

    @abstractmethod
    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        """Bring each named file to its target, in any order; yield its name when that is done."""


class Folder(Source):
    """Files below some folders of `where`; they are hard-linked when possible and copied otherwise."""

    def __init__(self, where: Path, folders: Iterable[str], skip: Iterable[str] = ()) -> None:
        skipped = set(skip)
        super().__init__(where, (name for folder in folders for name in _walk(where, folder, skipped)))

    def read(self, name: str) -> bytes:
        return (self.where / name).read_bytes()

    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        for name, target in targets.items():
            path = os.path.realpath(self.where / name)
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)
            yield name


class Archives(Source):
    """Files inside archives, which are named relative to `where`."""

    def __init__(self, where: Path, archives: Iterable[str]) -> None:
        self._archives = {f"{name}/": Archive(where / name) for name in archives}
        super().__init__(where, (top + member for top, archive in self._archives.items() for member in archive.names))

    def read(self, name: str) -> bytes:
        top = next(top for top in self._archives if name.startswith(top))
        return self._archives[top].read(name.removeprefix(top))

    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        for top, archive in self._archives.items():
            inside = {name.removeprefix(top): path for name, path in targets.items() if name.startswith(top)}
            for member in archive.fetch(inside) if inside else ():
                yield top + member


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _walk(where: Path, folder: str, skip: set[str]) -> Iterator[str]:
    """Files below where/folder, links followed; the bound on depth ends a loop of links."""
    for entry in os.scandir(where / folder):
        name = f"{folder}/{entry.name}"
        if _hidden(entry.name) or name in skip or name.count("/") >= _DEEPEST:
            continue
        if entry.is_dir():
            yield from _walk(where, name, skip)
        elif entry.is_file():
            yield name
