"""Zip and tar archives from strangers: listed, checked as a whole, then streamed to chosen places.

A name in an archive never becomes a path on this machine: the caller says where each member goes. An archive
that has a member with an absolute name, with `..`, or that is a link or a device, is refused before anything
is written.
"""

import contextlib
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from reid.errors import DatasetError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_BLOCK = 512
_LARGEST_KEPT_TEXT = 16 << 20
# What the standard library raises on damaged bytes; ValueError includes names that are not UTF-8.
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError,
)  # fmt: skip


class Archive(Protocol):
    """What both kinds of archive offer; `names` are '/'-separated and free of `.` and empty parts."""

    names: list[str]

    def read(self, name: str) -> bytes:
        """Content of one member."""

    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        """Write each named member to its target, in the archive's order; yield each name when written."""


def open_archive(path: Path) -> Archive:
    """List and check an archive. Raises DatasetError when it is damaged, truncated, encrypted or unsafe."""
    return ZipArchive(path) if zipfile.is_zipfile(path) else TarArchive(path)


class ZipArchive:
    """A zip archive; damage inside a member is found by its checksum when the member is fetched."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        with _reading(path), zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _unsafe(path, member.filename)
                name = _checked_name(path, member.filename)
                if not member.is_dir():
                    self._members[name] = member
        self.names = list(self._members)

    def read(self, name: str) -> bytes:
        with _reading(self._path), zipfile.ZipFile(self._path) as archive:
            return archive.read(self._members[name])

    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        in_file_order = sorted(targets, key=lambda name: self._members[name].header_offset)
        with _reading(self._path), zipfile.ZipFile(self._path) as archive:
            for name in in_file_order:
                with archive.open(self._members[name]) as member, open(targets[name], "wb") as file:
                    shutil.copyfileobj(member, file)
                yield name


class TarArchive:
    """A tar archive, compressed or not; the listing pass reads it to its end and so finds a truncated one.

    That pass keeps the texts, because finding one again means to decompress everything before it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: dict[str, bytes] = {}
        names: dict[str, None] = {}
        with _reading(path), tarfile.open(path, "r:*") as archive:
            for name, member in self._files(archive):
                names[name] = None
                is_text = name.lower().endswith(".txt") and member.size <= _LARGEST_KEPT_TEXT
                if is_text and (content := archive.extractfile(member)):
                    self._texts[name] = content.read()
            _expect_end_of_tar(archive)
        self.names = list(names)

    def read(self, name: str) -> bytes:
        if name in self._texts:
            return self._texts[name]
        with _reading(self._path), tarfile.open(self._path, "r:*") as archive:
            for found, member in self._files(archive):
                if found == name and (file := archive.extractfile(member)):
                    return file.read()
        raise KeyError(name)

    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        with _reading(self._path), tarfile.open(self._path, "r:*") as archive:
            for name, member in self._files(archive):
                if name in targets and (content := archive.extractfile(member)):
                    with content, open(targets[name], "wb") as file:
                        shutil.copyfileobj(content, file)
                    yield name

    def _files(self, archive: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
        for member in archive:
            if not (member.isreg() or member.isdir()):
                raise _unsafe(self._path, member.name)
            name = _checked_name(self._path, member.name)
            if member.isreg():
                yield name, member


def _expect_end_of_tar(archive: tarfile.TarFile) -> None:
    """A whole tar ends in at least two zero blocks, of which tarfile has read one without asking for more.

    Reading the rest also lets gzip verify its checksum.
    """
    assert archive.fileobj is not None
    length = 0
    while chunk := archive.fileobj.read(1 << 20):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("a header in the middle is damaged")
        length += len(chunk)
    if length < _BLOCK:
        raise tarfile.ReadError("its end is missing")


def _checked_name(archive: Path, name: str) -> str:
    """The member's name with `/` throughout. Zip files from Windows may hold backslashes."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise _unsafe(archive, name)
    return "/".join(part for part in parts if part not in ("", "."))


def _unsafe(archive: Path, member: str) -> DatasetError:
    return DatasetError(
        f"{archive}: member {member!r} is a link, a device or leads outside its folder, so nothing was "
        "extracted; get the archive from the dataset's own page"
    )


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the archive: gzip and bz2 raise OSErrors without a number
        reason = " ".join(str(error).partition(":")[0].split()) or type(error).__name__
        raise DatasetError(
            f"{archive} is truncated, damaged or encrypted ({reason}); download it again (zip, tar, tar.gz)"
        ) from error
