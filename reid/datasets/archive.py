"""Zip and tar archives from strangers: listed, checked as a whole, then streamed to places that the caller names.

One with a member that has an absolute name or `..`, or is a link or a device, is refused before anything is written.
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
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from reid.errors import DatasetError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_BLOCK = 512
_LARGEST_KEPT_TEXT = 16 << 20
# What damaged bytes raise; ValueError includes names that are not UTF-8.
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError,
)  # fmt: skip


class Archive:
    """A zip or tar archive. `names` are '/'-separated and free of `.` and empty parts.

    Texts are kept, since to find one again in a tar is to decompress everything before it. Raises DatasetError when the
    archive is damaged, encrypted or unsafe; damage inside a member of a zip shows only when the member is fetched.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: dict[str, bytes] = {}
        names: dict[str, None] = {}
        with _reading(path):
            for name, size, content in self._files():
                names[name] = None
                if name.lower().endswith(".txt") and size <= _LARGEST_KEPT_TEXT:
                    self._texts[name] = content().read()
        self.names = list(names)

    def read(self, name: str) -> bytes:
        if name in self._texts:
            return self._texts[name]
        with _reading(self._path):
            for each, _, content in self._files():
                if each == name:
                    return content().read()
        raise KeyError(name)

    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        """Write each named member to its target, in the archive's order; yield its name when written."""
        with _reading(self._path):
            for name, _, content in self._files():
                if name in targets:
                    with content() as member, open(targets[name], "wb") as file:
                        shutil.copyfileobj(member, file)
                    yield name

    def _files(self) -> Iterator[tuple[str, int, Callable[[], Any]]]:
        """Name, size and opener of each file, in the archive's order. All members are checked."""
        if zipfile.is_zipfile(self._path):
            with zipfile.ZipFile(self._path) as zipped:
                for member in sorted(zipped.infolist(), key=lambda member: member.header_offset):
                    kind = stat.S_IFMT(member.external_attr >> 16)
                    name = self._checked(member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
                    if not member.is_dir():
                        yield name, member.file_size, partial(zipped.open, member)
        else:
            with tarfile.open(self._path, "r:*") as tar:
                for entry in tar:
                    name = self._checked(entry.name, entry.isreg() or entry.isdir())
                    if entry.isreg():
                        yield name, entry.size, partial(tar.extractfile, entry)
                _expect_end_of_tar(tar)

    def _checked(self, name: str, is_plain: bool) -> str:
        parts = name.replace("\\", "/").split("/")  # Windows may write backslashes
        if not is_plain or parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", name):
            problem = f"member {name!r} is a link, a device or leads outside its folder, so nothing was extracted"
            raise DatasetError(f"{self._path}: {problem}; get the archive from the dataset's own page")
        return "/".join(part for part in parts if part not in ("", "."))


def _expect_end_of_tar(archive: tarfile.TarFile) -> None:
    """A tar ends in two zero blocks, of which tarfile has read one. Reading on also lets gzip verify its checksum."""
    assert archive.fileobj is not None
    length = 0
    while chunk := archive.fileobj.read(1 << 20):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("a header in the middle is damaged")
        length += len(chunk)
    if length < _BLOCK:
        raise tarfile.ReadError("its end is missing")


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the archive: gzip and bz2 raise OSErrors without a number
        reason = " ".join(str(error).partition(":")[0].split()) or type(error).__name__
        problem = f"{archive} is truncated, damaged or encrypted ({reason})"
        raise DatasetError(f"{problem}; download it again (zip, tar, tar.gz)") from error
