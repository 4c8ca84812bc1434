"""Entries of the zoo: what is known of a model, and whether a file is the one that is meant."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from reid.errors import CheckpointError
from reid.models.inputs import InputSpec
from reid.runtime import containers
from reid.runtime.files import sha256
from reid.runtime.registry import unknown

FOLDER = Path(__file__).parent
PREFIX = "zoo:"  # of a spec that names an entry
UNKNOWN = "not known"
UNVERIFIED = "cannot be verified, since its hash is not known"
OPENED = (*containers.READ, *containers.GRAPHS, "openvino weights")


class Figure(NamedTuple):
    """A clean mAP in [0, 1] that somebody published or we measured, and the text that says where or by which command.

    `contents` is the hash of the images as results have it, None for a dataset that is told by its name alone.
    `interval` of what we measured holds 95 % over identities or, where the model is trained again each time, over
    seeds; of what is published, the range that it stands for where its average precision is not ours. `protocol` are
    those values of a result's protocol without which it is no match.
    """

    dataset: str
    mAP: float
    interval: tuple[float, float] | None
    contents: str | None
    protocol: Mapping[str, Any]
    source: str

    @property
    def words(self) -> str:
        spread = f" [{100 * self.interval[0]:.1f}, {100 * self.interval[1]:.1f}]" if self.interval else ""
        return f"{self.dataset} {100 * self.mAP:.1f}{spread} ({self.source})"


class File(NamedTuple):
    """A file of a model, by its path in the folder of weights; its size and hash are None where nobody knows them."""

    name: str
    bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class Entry:
    """A model. The first of its `files` is the one that is opened, `source` says where they come from, `note` what else
    one should know. `published` and `measured` are empty, and `fingerprint` is None, where nobody knows."""

    name: str
    summary: str
    source: Mapping[str, str | None]
    licence: str
    files: tuple[File, ...]
    family: str
    arch: str
    input: InputSpec
    published: tuple[Figure, ...]
    measured: tuple[Figure, ...]
    fingerprint: str | None
    note: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a JSON file of this package."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values["input"] = InputSpec.of(values["input"], path)
        values["files"] = tuple(File(**each) for each in values["files"])
        for figures in ("published", "measured"):
            values[figures] = tuple(Figure(**each) for each in values[figures] or ())
        return cls(**values)

    @property
    def sha256(self) -> str | None:
        """Hash of the file that is opened, as results have it."""
        return self.files[0].sha256

    @property
    def origin(self) -> str:
        """Where the files come from, in words."""
        repository, commit, how = (self.source[key] for key in ("repository", "commit", "how"))
        return f"{repository}{f' @ {commit[:8]}' if commit else ''}: {how}"

    def verified(self, folder: str | Path) -> Path:
        """The file to open, in a folder of weights, once first bytes, size and hash of all files are right, where they
        are known. Raises CheckpointError for a file that is missing or another one.
        """
        for file in self.files:
            self._verify(file, Path(folder) / file.name, folder)
        return Path(folder) / self.files[0].name

    def _verify(self, file: File, path: Path, folder: str | Path) -> None:
        if not path.exists():
            where = f"put it there, or give its folder as --weights (now {folder})"
            raise CheckpointError(f"{path} of zoo:{self.name} is not there; {where}; it comes from {self.origin}")
        if (kind := containers.kind_of(path)) not in OPENED:
            raise containers.refusal(path, kind)
        again = f"get it again from {self.origin}"
        if file.bytes not in (None, size := path.stat().st_size):
            raise CheckpointError(f"{path} has {size} bytes, that of zoo:{self.name} has {file.bytes}; {again}")
        if file.sha256 not in (None, found := sha256(path)):
            digests = f"its sha256 is {found[:12]}, not {str(file.sha256)[:12]}"
            raise CheckpointError(f"{path} is another file than that of zoo:{self.name} ({digests}); {again}")


def list_zoo() -> tuple[Entry, ...]:
    """All entries, by name."""
    return tuple(Entry.read(path) for path in sorted(FOLDER.glob("*.json"), key=lambda path: path.stem))


def find(name: str) -> Entry:
    """The entry of this name. Raises UsageError, with the nearest known name, where there is none."""
    entries = {entry.name: entry for entry in list_zoo()}
    if name not in entries:
        raise unknown("model of the zoo", name, list(entries))
    return entries[name]


def described(entry: Entry, folder: str | Path) -> Iterator[str]:
    """What is known of an entry, and of its files in a folder of weights, line by line."""
    facts = {
        "file": f"{Path(folder) / entry.files[0].name}: {_state(entry, folder)}",
        "from": entry.origin,
        "licence": entry.licence,
        "network": f"{entry.arch}, {entry.family}; {entry.input.words}; fingerprint {entry.fingerprint or UNKNOWN}",
        "published": "; ".join(figure.words for figure in entry.published) or UNKNOWN,
        "measured": "; ".join(figure.words for figure in entry.measured) or UNKNOWN,
        "note": entry.note,
    }
    yield f"{PREFIX}{entry.name}: {entry.summary}"
    yield from (f"  {name:<9}  {text}" for name, text in facts.items() if text)


def _state(entry: Entry, folder: str | Path) -> str:
    if not all((Path(folder) / file.name).exists() for file in entry.files):
        return "not there"
    try:
        entry.verified(folder)
    except CheckpointError as error:
        return f"not usable: {error}"
    return "verified" if entry.sha256 else f"there; {UNVERIFIED}"


def entry_of(spec: str, digest: str | None) -> Entry | None:
    """The entry that a spec names, or whose file has this hash; None where the zoo has no such model."""
    named = (e for e in list_zoo() if spec == f"{PREFIX}{e.name}" or (digest and digest == e.sha256))
    return next(named, None)
