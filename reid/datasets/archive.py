"""Zip and tar archives from strangers: listed, checked as a whole, then streamed to places that the caller names.

One with a member that has an absolute name or `..`, or is a link or a device, is refused before anything is written.
"""

import contextlib
import errno
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

_PACKED = r"zip|tar|tar\.(?:gz|bz2|xz|lzma|zst|lz4?|z)|tgz|tbz2?|txz|tzst|rar|7z"
_VOLUME = r"\.\d{2,3}|[-_.]?part[-_.]?(?:\d+|a[a-z])|\.a[a-z]"  # what 7-Zip, WinRAR and split add
_VOLUMES = re.compile(rf"\.(?:(?:{_PACKED})(?:{_VOLUME})|[zr]\d\d)$", re.IGNORECASE)
_WHOLE = re.compile(rf"\.(?:{_PACKED})$", re.IGNORECASE)
_FOREIGN = re.compile(r"\.(?:rar|7z|tar\.(?:zst|lz4?|z)|tzst)$", re.IGNORECASE)
_BEGINNINGS = {
    b"Rar!": "a RAR archive", b"7z\xbc\xaf": "a 7z archive", b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\x04\x22\x4d\x18": "compressed with lz4", b"LZIP": "compressed with lzip", b"\x1f\x9d": "compressed as .Z",
}  # fmt: skip
_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 20: "zstd", 93: "zstd", 95: "xz", 97: "WavPack", 98: "PPMd"}
_READABLE = {getattr(zipfile, f"ZIP_{name}", 0) for name in ("STORED", "DEFLATED", "BZIP2", "LZMA", "ZSTANDARD")}
_AES, _ENCRYPTED = 99, 0x41  # a method of zip, and flags
_BLOCK = 512
_LONGEST_END = 22 + (1 << 16)  # of a zip, with a comment
_LARGEST_KEPT_TEXT = 16 << 20
# What damaged bytes raise; ValueError includes names that are not UTF-8.
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError,
)  # fmt: skip


def is_archive(name: str) -> bool:
    """Whether a file is called like an archive, or like a volume of one."""
    return bool(_WHOLE.search(name) or _VOLUMES.search(name))


def is_readable(name: str) -> bool:
    """Whether a file is called like an archive that Python reads."""
    return bool(_WHOLE.search(name)) and not _FOREIGN.search(name)


class Archive:
    """A zip or tar archive. `names` are '/'-separated and free of `.` and empty parts.

    Texts are kept, since to find one again in a tar is to decompress everything before it. Raises DatasetError when the
    archive is damaged or unsafe, and when Python does not read its kind, compression or encryption; damage inside a
    member of a zip shows only when the member is fetched.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: dict[str, bytes] = {}
        names: dict[str, None] = {}
        if kind := _foreign_kind(path):
            raise _foreign(path, kind)
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
                        _expect_readable(self._path, member)
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


def _expect_readable(archive: Path, member: zipfile.ZipInfo) -> None:
    method = member.compress_type
    if member.flag_bits & _ENCRYPTED or method == _AES:
        raise _foreign(archive, "encrypted")
    if method not in _READABLE and method in _METHODS:
        raise _foreign(archive, f"compressed with {_METHODS[method]} (method {method})")


def _foreign(archive: Path, kind: str) -> DatasetError:
    remedy = "unpack it there with another tool, such as 7-Zip, and move it away; a new download brings the same file"
    return DatasetError(f"{archive} is {kind}, which Python does not read; {remedy}")


def _foreign_kind(archive: Path) -> str:
    """What a file is, in words, if it is no archive that Python reads although it may be whole."""
    with open(archive, "rb") as file:
        beginning = file.read(8)
        file.seek(max(0, archive.stat().st_size - _LONGEST_END))
        _, mark, end = file.read().rpartition(b"PK\5\6")
    if _VOLUMES.search(archive.name) or (mark and end[:2] not in (b"\0\0", b"\xff\xff")):
        return "one of the volumes of an archive"
    return next((words for known, words in _BEGINNINGS.items() if beginning.startswith(known)), "")


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk: gzip and bz2 raise OSErrors without a number, and zipfile seeks before the beginning
        reason = " ".join(str(error).partition(":")[0].split())[:80] or type(error).__name__
        problem = f"truncated or damaged ({reason})"
        with open(archive, "rb") as file:
            if file.read(_BLOCK).lstrip().lower().startswith((b"<!doctype", b"<html")):
                problem = "a web page, not an archive"
        raise DatasetError(f"{archive} is {problem}; download it again (zip, tar, tar.gz)") from error
