"""Files: written whole or not at all, and known by their hash."""

import contextlib
import glob
import hashlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from reid.errors import ReidError

ABANDONED = 3600  # seconds without a write after which the process that wrote a file was killed


def slug(text: str) -> str:
    """The end of a text as the name of one file or folder on every system: without what separates or is reserved."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.")[-60:] or "_"


@contextlib.contextmanager
def temporary_sibling(path: str | Path) -> Iterator[Path]:
    """Yield a fresh name next to `path`, renamed to `path` on success: a reader sees the old file or the whole new one.

    The folder is created. An OSError that names no file, as on a full disk, or the temporary one, names `path` instead.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | Path, writer: Callable[[Path], object]) -> Path:
    """Let `writer(temporary_path)` write the file, then put it in its place at once. Returns the final path."""
    with temporary_sibling(path) as temporary:
        writer(temporary)
    return Path(path)


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, or of the names and hashes of all files in a folder.

    Raises ReidError when one cannot be read.
    """
    if os.path.isdir(path):
        files = sorted(each for each in Path(path).rglob("*") if each.is_file())
        lines = [f"{each.relative_to(path).as_posix()} {sha256(each)}\n" for each in files]
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ReidError(f"cannot read {path}: {error.strerror}; give the path of an existing file") from error
