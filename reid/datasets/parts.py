"""Sets in parts, each with some of the files: `NAME-20240101T000000Z-001.zip`, `NAME.part2.zip`, a zip per folder."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reid.datasets.archive import is_archive
from reid.datasets.picture import is_picture
from reid.datasets.source import Source
from reid.errors import DatasetError

# The number of a part: after the time at which a drive packed it, after "part", with leading zeros, or of a volume.
_NUMBER = re.compile(
    r"""(?: \dZ- (?:\d+-)? | (?:^|[-_.\ /])part[-_.\ ]? | [-_.\ ](?=0\d\d\.\D)
    | \.(?:zip|7z|rar|tar|t?gz|t?bz2|t?xz)\.(?=\d{3}$) | \.z(?=\d\d$) )
    (\d{1,4}) (?:\ ?\(\d+\))? (?:\.[a-z][\w.]*)? $""",
    re.IGNORECASE | re.VERBOSE,
)


def is_part(name: str) -> bool:
    """Whether an archive or a folder is called like one of several parts."""
    return _NUMBER.search(posixpath.basename(name)) is not None


def refuse_missing(where: Path, names: Iterable[str]) -> None:
    """Raise DatasetError, with the names of the missing ones, when archives or folders are only some of the parts."""
    if lacking := missing(names):
        folder, more = (where / lacking[0]).parent, f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        shown = ", ".join(map(posixpath.basename, lacking[:3])) + more
        raise DatasetError(f"{folder} holds parts of an archive but not {shown}; put what is missing there")


def missing(names: Iterable[str]) -> list[str]:
    """The numbered names between or before those that are given, and the .zip that ends volumes such as .z01."""
    there, parts = set(names), defaultdict(set)
    for name in there:
        if match := _NUMBER.search(name):
            parts[name[: match.start(1)], name[match.end(1) :]].add(match[1])
    lacking = [f"{before[:-1]}zip" for before, _ in parts if before.lower().endswith(".z")]
    for (before, after), numbers in parts.items():
        present, width = set(map(int, numbers)), min(map(len, numbers))
        lacking += [f"{before}{n:0{width}}{after}" for n in range(min(1, *present), max(present)) if n not in present]
    return sorted(set(lacking) - there)


class Together(Source):
    """A source as if its archives, and folders that are called like parts, were all unpacked into one folder.

    Raises DatasetError when a part is missing, or when two have the same image or list.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._real: dict[str, str] = {}  # name as if unpacked -> name in the source
        self._folders: dict[str, str] = {"": ""}  # of those names, likewise
        self._wrappers: dict[str, str] = {}  # archive or part -> the folder into which it is unpacked
        for name in source.names:
            folder, _, base = name.rpartition("/")
            twin = self._real.setdefault(posixpath.join(self._unwrapped(folder), base), name)
            if twin != name and (is_picture(name) or name.endswith(".txt")):
                first, second = map(source.describe, (twin, name))
                raise DatasetError(f"a file is there twice, as {first} and as {second}; keep one of them")
        refuse_missing(source.where, self._wrappers)
        super().__init__(source.where, self._real)

    def describe(self, name: str) -> str:
        """Of a file where it really is; of a folder too, if it is in one archive."""
        if name not in self._real and len(self._wrappers) == 1:
            ((wrapper, folder),) = self._wrappers.items()
            if f"{name}/".startswith(f"{folder}/"):
                return self._source.describe(wrapper + name.removeprefix(folder))
        return self._source.describe(self._real.get(name, name))

    def left_out(self, used: Iterable[str]) -> str:
        return self._source.left_out(self._real[name] for name in self._lists.union(used))

    def fingerprints(self) -> list[str]:
        return self._source.fingerprints()

    def refuse_lone_part(self) -> None:
        """Raise DatasetError, with the name of the next one, when all files are in one part of something."""
        match = _NUMBER.search(next(iter(self._wrappers))) if len(self._wrappers) == 1 else None
        if match:
            part, following = match.string, f"{int(match[1]) + 1:0{len(match[1])}}"
            other = posixpath.basename(part[: match.start(1)] + following + part[match.end(1) :])
            problem = f"{self._source.describe(part)} is called like a part, and has not all images of the set"
            raise DatasetError(f"{problem}; put the other parts there, such as {other}, or rename it if there are none")

    def read(self, name: str) -> bytes:
        return self._source.read(self._real[name])

    def fetch(self, targets: Mapping[str, Path]) -> Iterator[str]:
        names = {self._real[name]: name for name in targets}
        for real in self._source.fetch({real: targets[name] for real, name in names.items()}):
            yield names[real]

    def _unwrapped(self, folder: str) -> str:
        """The folder without those on its way that are archives or parts."""
        if folder and folder not in self._folders:
            above, _, last = folder.rpartition("/")
            outer = self._unwrapped(above)
            self._folders[folder] = posixpath.join(outer, last)
            if is_archive(last) or is_part(last):
                self._folders[folder] = self._wrappers[folder] = outer
        return self._folders[folder]
