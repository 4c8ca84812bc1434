"""Where raw files come from: folders, or archives as if they were folders.

Names are '/'-separated and relative to `where`, such as raw/Market.zip/query/0001_c1s1_001051_00.jpg. Hidden files, the
`._` twins of macOS and `__MACOSX` are left out; whatever else is not used is counted.
"""

import hashlib
import os
import posixpath
import shutil
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

from reid.datasets.archive import Archive, is_archive
from reid.datasets.picture import is_picture
from reid.errors import DatasetError, few, printable

_DEEPEST = 9


class Source(ABC):
    """A sorted list of file names below `where`."""

    def __init__(self, where: Path, names: Iterable[str]) -> None:
        self.where = where
        self.names = sorted(names)
        self._lists: set[str] = set()  # which have been read
        self._unread: Sequence[str] = ()  # files that are in no way a part of this source
        self._odd: Counter[str] = Counter()  # how often a reason kept something out of `names`

    def describe(self, name: str) -> str:
        """The name as a user finds it: a path, which may lead into an archive."""
        return printable(str(self.where / name))

    def images(self, folder: str) -> list[str]:
        """Names of the images directly in a folder, which may be spelt in another case."""
        return self._by_folder.get(folder.lower(), [])

    def all_images(self) -> list[str]:
        return [name for name in self.names if is_picture(name)]

    def archives(self) -> list[str]:
        return [name for name in self.names if is_archive(name)]

    def lines(self, name: str) -> list[str]:
        """The non-empty lines of a file. Raises DatasetError when it is not text."""
        self._lists.add(name)
        try:
            return [line.strip() for line in self.read(name).decode("utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.describe(name)} is not a text file; get the dataset again") from error

    def left_out(self, used: Iterable[str]) -> str:
        """How many files are neither in `used` nor lists that were read, and why; empty if there are none."""
        known = self._lists.union(used)
        archives, folders, suffixes, reasons = Counter[str](), Counter[str](), Counter[str](), self._odd.copy()
        for name in chain(self.names, self._unread):
            if name in known:
                continue
            folder, _, base = name.rpartition("/")
            if is_archive(base):
                archives[base] += 1
            elif not is_picture(base):
                suffixes[posixpath.splitext(base)[1].lower() or "no suffix"] += 1
            elif base.startswith("-"):
                reasons["junk images (negative identity)"] += 1
            else:
                folders["/".join(folder.split("/")[-2:]) or "top"] += 1
        several = {
            "images that no folder, list or draw asks for": folders,
            "files that are no images": suffixes,
            "archives that are not read": archives,
        }
        for reason, counts in several.items():
            if counts:
                reasons[f"{reason} ({few(f'{n:,} {key}' for key, n in counts.most_common())})"] = counts.total()
        shown = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        return f"{reasons.total():,} files are not used: {shown}" if shown else ""

    def fingerprints(self) -> list[str]:
        """Hashes of the names of images and of archives: of the last two parts, which a copy or an archive keeps."""
        groups = (
            sorted("/".join(name.split("/")[-2:]) for name in kind) for kind in (self.all_images(), self.archives())
        )
        return [hashlib.sha256(os.fsencode("\n".join(names))).hexdigest() for names in groups if names]

    @cached_property
    def _by_folder(self) -> dict[str, list[str]]:
        folders: dict[str, list[str]] = defaultdict(list)
        for name in self.all_images():
            folders[name.rpartition("/")[0].lower()].append(name)
        return folders

    @abstractmethod
    def read(self, name: str) -> bytes: ...

    @abstractmethod
    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        """Bring each named file to its target, in any order; yield its name when that is done."""


class Folder(Source):
    """Files below some folders of `where`; they are hard-linked when possible and copied otherwise."""

    def __init__(self, where: Path, folders: Iterable[str], skip: Iterable[str] = ()) -> None:
        skipped, odd = set(skip), Counter[str]()
        super().__init__(where, (name for folder in folders for name in _walk(where, folder, skipped, odd)))
        self._odd = odd

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

    def __init__(self, where: Path, archives: Iterable[str], around: Source | None = None) -> None:
        self._archives = {f"{name}/": Archive(where / name) for name in archives}
        members = (top + member for top, archive in self._archives.items() for member in archive.names)
        super().__init__(where, (name for name in members if not any(map(_hidden, name.split("/")))))
        self._around = around
        if around:
            self._unread = [name for name in around.names if f"{name}/" not in self._archives]
            self._odd = around._odd

    def fingerprints(self) -> list[str]:
        return super().fingerprints() + (self._around.fingerprints() if self._around else [])

    def read(self, name: str) -> bytes:
        top = next(top for top in self._archives if name.startswith(top))
        return self._archives[top].read(name.removeprefix(top))

    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        for top, archive in self._archives.items():
            inside = {name.removeprefix(top): path for name, path in targets.items() if name.startswith(top)}
            for member in archive.fetch(inside) if inside else ():
                yield top + member


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _walk(where: Path, folder: str, skip: set[str], odd: Counter[str]) -> Iterator[str]:
    """Files below where/folder, links followed; the bound on depth ends a loop of links."""
    try:
        entries = os.scandir(where / folder)
    except PermissionError:
        odd["folders that may not be listed"] += 1
        return
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if _hidden(entry.name) or name in skip:
            continue
        is_folder = os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()
        if is_folder and name.count("/") < _DEEPEST:
            yield from _walk(where, name, skip, odd)
        elif is_folder:
            odd[f"folders below {_DEEPEST} others"] += 1
        elif os.path.isfile(entry) if entry.is_symlink() else entry.is_file():
            yield name
        else:
            odd["links whose target is gone" if entry.is_symlink() else "neither files nor folders"] += 1
