"""What every dataset gives: samples, splits, labels, and a table of what is in it."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reid.errors import UsageError

SPLITS = ("trainval", "gallery", "query")
_SHOWN_CAMERAS = 36


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: absolute path, identity as the dataset's files number it, camera counted from 0."""

    path: str
    pid: int
    camid: int


class Count(NamedTuple):
    """Expected size of one split; `per_camera` is empty where it is not known."""

    ids: int
    images: int
    per_camera: tuple[int, ...] = ()


@dataclass(frozen=True)
class Release:
    """One form in which a dataset circulates.

    `folders` are the files and folders that tell its raw folder. `cameras` are written as in its file names: camid is
    the position here, among those found and sorted if empty. `expected` has the counts, where known, by split.
    """

    name: str
    folders: tuple[str, ...] = ()
    cameras: tuple[Any, ...] = ()
    expected: Mapping[str, Count] = field(default_factory=dict)


def labels(samples: Iterable[Sample]) -> dict[int, int]:
    """Each pid's class label 0..n-1, in the order of the sorted pids."""
    return {pid: label for label, pid in enumerate(sorted({sample.pid for sample in samples}))}


class Dataset:
    """The published splits `trainval`, `query` and `gallery` (the last two empty if it is for training only).

    `val` is about 10 % of the identities of `trainval`, drawn with the seed `split`, and `train` the rest. `original`
    maps converted file names to raw ones. `unknown` has queries of no known identity (pid -1), if the set keeps them.
    Raises UsageError for a negative split.
    """

    def __init__(
        self,
        name: str,
        images_dir: Path,
        samples: Mapping[str, Sequence[Sample]],
        num_cameras: int,
        release: Release,
        split: int = 0,
        note: str = "",
        original: Mapping[str, str] | None = None,
    ) -> None:
        if split < 0:
            raise UsageError(f"split {split} of {name}: give a whole number of at least 0")
        self.name, self.release, self.split, self.num_cameras = name, release, split, num_cameras
        self.note, self.original, self.images_dir = note, original or {}, str(images_dir.absolute())
        self.trainval, self.gallery, self.query = (list(samples[key]) for key in SPLITS)
        self.unknown = list(samples.get("unknown", ()))
        pids = sorted(labels(self.trainval))
        drawn = np.random.default_rng(split).permutation(pids)[: max(1, round(len(pids) / 10))]
        held_out = set(drawn.tolist()) if len(pids) > 1 else set()
        self.train = [sample for sample in self.trainval if sample.pid not in held_out]
        self.val = [sample for sample in self.trainval if sample.pid in held_out]
        self.num_train_ids, self.num_trainval_ids = len(pids) - len(held_out), len(pids)

    def original_name(self, sample: Sample) -> str:
        """Its name below the top folder of the raw dataset, such as query/0001_c1s1_001051_00.jpg."""
        name = os.path.relpath(sample.path, self.images_dir).replace(os.sep, "/")
        return self.original.get(name, name)

    def differences(self) -> list[str]:
        """Where the counts are not the expected ones, one sentence each."""
        lines = []
        for split, expected in self.release.expected.items():
            count = self._count(split)
            if count.ids != expected.ids:
                lines.append(f"{split} has {count.ids:,} ids, expected are {expected.ids:,}")
            if count.images != expected.images:
                lines.append(f"{split} has {count.images:,} images, expected are {expected.images:,}")
            if expected.per_camera and count.per_camera != expected.per_camera:
                found, wanted = (_listed(counts, ", ") for counts in (count.per_camera, expected.per_camera))
                lines.append(f"{split} has ({found}) images per camera, expected are ({wanted})")
        return lines

    def summary(self) -> str:
        """A table of identities, images and images per camera of every split."""
        lines = [
            f"{self.name} ({self.release.name}), {self.num_cameras} cameras, split {self.split}: {self.images_dir}",
            "  subset   |   ids |    images | images per camera",
            "  -------- | ----- | --------- | -----------------",
        ]
        for split in ("train", "val", "trainval", "query", "gallery"):
            ids, images, per_camera = self._count(split)
            cameras = _listed(per_camera, " ") if images else "(none)"
            lines.append(f"  {split:<8} | {ids:5d} | {images:9,d} | {cameras}")
        return "\n".join(lines + [f"  note: {self.note}"] * bool(self.note))

    def _count(self, split: str) -> Count:
        samples: list[Sample] = getattr(self, split)
        cameras = Counter(sample.camid for sample in samples)
        return Count(len(labels(samples)), len(samples), tuple(cameras[camid] for camid in range(self.num_cameras)))


def _listed(per_camera: Sequence[int], separator: str) -> str:
    """The counts, or what they span where they are too many for a line."""
    if len(per_camera) <= _SHOWN_CAMERAS:
        return separator.join(map(str, per_camera))
    return f"{min(per_camera):,} to {max(per_camera):,} in each of {len(per_camera):,} cameras"
