"""The converted form of a dataset: `images/`, `meta.json` and `splits.json`, as the open-reid family has it.

`images/` holds {pid:08d}_{camid:02d}_{index:04d}.jpg, and `identities` in `meta.json` is a list by pid of lists by
camid of file names (an object by pid where numbers such as dates would make the list long). Folders written by the code
released with MetaAttack load too. A conversion works in a hidden folder and writes `splits.json` last: once it is
there, only the move into place is left, which can be repeated.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from reid.datasets import picture
from reid.datasets.base import SPLITS, Sample
from reid.datasets.source import Source
from reid.errors import DatasetError
from reid.runtime.files import write_atomically
from reid.runtime.progress import progress

PARTS = ("images", "meta.json", "splits.json")
CACHE = "cache"  # folder next to them, of decoded images
_STAGING = ".converting"
_LONGEST_LIST = 100_000  # pids; the released code reads no objects
_REMEDY = f"delete {', '.join(PARTS)} there and convert the raw dataset again"


class Converted(NamedTuple):
    """What `read` finds: samples of each split, number of cameras, release ("" if other code converted the dataset),
    raw names by file name, hashes of the raw names, and how many images are in no split."""

    samples: dict[str, list[Sample]]
    num_cameras: int
    release: str
    original: dict[str, str]
    raw: list[str]
    unlisted: int


class Record(NamedTuple):
    """One raw image. `name` is that in the source, `original` that below the dataset's top folder."""

    split: str
    name: str
    original: str
    pid: int
    camera: Any


def is_converted(home: Path) -> bool:
    """Whether `home` holds all parts, and no conversion is under way or was killed."""
    return all((home / part).exists() for part in PARTS) and not (home / _STAGING).exists()


def recover(home: Path) -> None:
    """Finish a killed conversion if only the move into place was left, else remove what it left."""
    if (home / _STAGING / "splits.json").exists():
        _publish(home)
    shutil.rmtree(home / _STAGING, ignore_errors=True)


def write(
    home: Path, name: str, release: str, cameras: Sequence[Any], source: Source, records: Sequence[Record]
) -> None:
    """Convert `records` of `source` into `home`; camid is a camera's position in `cameras`.

    Raises DatasetError naming an image that cannot be read, and OSError when the disk is full; nothing remains then.
    """
    staging, images = home / _STAGING, home / _STAGING / "images"
    try:
        images.mkdir(parents=True)
        files = _number(records, {camera: camid for camid, camera in enumerate(cameras)})
        targets = {record.name: images / file for file, record in files.items()}
        for image in progress(source.fetch(targets), len(targets), f"converting {name}, image"):
            picture.check(targets[image], source.describe(image))
        query, gallery = ([file for file in files if files[file].split == split] for split in ("query", "gallery"))
        head = {"name": name, "release": release, "shot": "multiple", "num_cameras": len(cameras)}
        identities = _identities(files, len(cameras))
        lists = {"identities": identities, "query_fnames": query, "gallery_fnames": gallery}
        original = {file: record.original for file, record in files.items()}
        _write_json(staging / "meta.json", head | lists | {"original": original, "raw": source.fingerprints()})
        pids = {split: sorted({record.pid for record in records if record.split == split}) for split in SPLITS}
        _write_json(staging / "splits.json", [pids])
        _publish(home)
    finally:
        if not (staging / "splits.json").exists():
            shutil.rmtree(staging, ignore_errors=True)


def read(home: Path) -> Converted:
    """The dataset converted into `home`. Raises DatasetError when its parts do not fit together."""
    meta, splits = _read_json(home / "meta.json"), _read_json(home / "splits.json")
    images = (home / "images").absolute()
    try:
        present = set(os.listdir(images))
    except OSError as error:
        raise DatasetError(f"{images} cannot be listed ({error.strerror}); mend its permissions") from error
    try:
        identities = meta["identities"]
        keys = (str(pid) if isinstance(identities, dict) else pid for pid in splits[0]["trainval"])
        trainval = [file for key in keys for files in identities[key] for file in files]
        listed = {"trainval": trainval, "gallery": meta["gallery_fnames"], "query": meta["query_fnames"]}
        samples = {split: [_sample(images, file, present) for file in files] for split, files in listed.items()}
        used = sorted({sample.camid for group in samples.values() for sample in group})
        num_cameras = meta["num_cameras"]
        if used and used[-1] >= num_cameras:  # the released PersonX conversion states 3 cameras and calls them 3, 4, 5
            places = {camid: place for place, camid in enumerate(used)}
            for split, group in samples.items():
                samples[split] = [replace(sample, camid=places[sample.camid]) for sample in group]
            num_cameras = len(used)
        ours = str(meta.get("release", "")), dict(meta.get("original", {})), list(meta.get("raw", []))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        problem = f"meta.json and splits.json are not in the layout with query_fnames and gallery_fnames ({error!r})"
        raise DatasetError(f"{home}: {problem}; {_REMEDY}") from error
    unlisted = sum(not file.startswith(".") for file in present.difference(chain.from_iterable(listed.values())))
    return Converted(samples, num_cameras, *ours, unlisted)


def _number(records: Sequence[Record], camids: Mapping[Any, int]) -> dict[str, Record]:
    """Converted file name -> record, numbered per (pid, camid): training, gallery, query, each sorted by name."""
    counters: Counter[tuple[int, int]] = Counter()
    files: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: (SPLITS.index(record.split), record.original)):
        camid = camids[record.camera]
        files[f"{record.pid:08d}_{camid:02d}_{counters[record.pid, camid]:04d}.jpg"] = record
        counters[record.pid, camid] += 1
    return files


def _identities(files: Mapping[str, Record], num_cameras: int) -> Any:
    people: dict[int, list[list[str]]] = {}
    for file, record in files.items():
        person = people.setdefault(record.pid, [[] for _ in range(num_cameras)])
        person[int(file.split("_")[1])].append(file)
    longest = 1 + max(people)
    return people if longest > _LONGEST_LIST else [people.get(pid, []) for pid in range(longest)]


def _sample(images: Path, file: str, present: set[str]) -> Sample:
    if file not in present:
        raise DatasetError(f"{images / file} is missing although {images.parent / 'meta.json'} lists it; {_REMEDY}")
    pid, camid, _ = map(int, file.split(".")[0].split("_"))
    return Sample(f"{images}/{file}", pid, camid)


def _publish(home: Path) -> None:
    for part in PARTS:
        if (home / _STAGING / part).exists():
            os.replace(home / _STAGING / part, home / part)
    (home / _STAGING).rmdir()


def _write_json(path: Path, value: Any) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(value), encoding="utf-8"))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); {_REMEDY}") from error
