"""UnrealPerson."""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from reid.datasets.base import Count, Release
from reid.datasets.converted import Record
from reid.datasets.loader import Loader
from reid.datasets.source import Source
from reid.errors import DatasetError, few

logger = logging.getLogger(__name__)

NUM_IDS, IMAGES_PER_ID, SEED = 3_000, 40, 0
_PATTERN = re.compile(r"unreal_v(\d+)\.(\d+)[^/]*/(images/(-?\d+)_c(\d+)_\d+\.\w+)$")
_VERSION_STEP = 100_000
_LIST = "list_unreal_train.txt"


class UnrealPerson(Loader):
    """UnrealPerson: 6,799 people rendered in a game engine, 1,256,381 images, 34 cameras. For training only.

    Paper: Zhang et al., UnrealPerson: An Adaptive Pipeline towards Costless Person Re-identification, CVPR 2021.
    Archives unreal_v{1-4}.{1-3}.tar, or one UnrealPerson.tar with all, linked from the authors' project page. In
    `unreal_vX.Y/images/P_cD_N.jpg` X is the scene and Y the kind of human model: (Y, P) is an identity, stored as pid
    Y * 100,000 + P, and (X, D) a camera. Of everything there we draw the paper's training setting, 3,000 identities
    with 40 images each. The paper's own draw was not published; a list_unreal_train.txt that is there is followed: each
    of its lines names an image, whatever is before `unreal_vX.Y` and after the name.
    """

    aliases = ("unreal",)
    archive = "the archives unreal_vX.Y.tar"
    train_only = True
    releases = (Release("3,000 x 40", expected={"trainval": Count(NUM_IDS, NUM_IDS * IMAGES_PER_ID)}),)

    def records(self, source: Source, prefix: str, release: Release) -> Iterator[Record]:
        records = [record for name in source.all_images() if (record := _record(source, name)).pid >= 0]
        lists = [name for name in source.names if name.endswith(_LIST)]
        if not lists:
            return iter(draw(records, NUM_IDS, IMAGES_PER_ID, SEED))
        there = {record.original for record in records}
        listed = {image for name in lists for image in self._listed(source, name, there)}
        return (record for record in records if record.original in listed)

    def original(self, name: str) -> str:
        match = _PATTERN.search(name)
        return f"unreal_v{match[1]}.{match[2]}/{match[3]}" if match else name

    def _listed(self, source: Source, name: str, there: set[str]) -> set[str]:
        """What a list names. Raises DatasetError for a strange line, or when nothing of it is there."""
        listed: set[str] = set()
        for line in source.lines(name):
            words = re.split(r"[\s,]+", line.replace("\\", "/"))
            if not any(map(_PATTERN.search, words)):
                problem = f"the line {line[:100]!r} names nothing like unreal_v3.1/images/333_c001_78.jpg"
                raise DatasetError(f"{source.describe(name)}: {problem}; mend it, or remove the list")
            listed.update(self.original(word) for word in words if _PATTERN.search(word))
        if not listed & there:
            problem = f"names none of the images that are there: {few(sorted(listed))}" if listed else "is empty"
            raise DatasetError(f"{source.describe(name)} {problem}; put its images there, or remove the list")
        if absent := sorted(listed - there):
            what = "%s: %d of %d images are not there and left out: %s"
            logger.warning(what, source.describe(name), len(absent), len(listed), few(absent))
        return listed


def _record(source: Source, name: str) -> Record:
    match = _PATTERN.search(name)
    if match is None:
        problem = "the name is not like unreal_v3.1/images/333_c001_78.jpg"
        raise DatasetError(f"{source.describe(name)}: {problem}; keep the folders of the archive, or remove the file")
    scene, version, person, camera = (int(match[group]) for group in (1, 2, 4, 5))
    pid = version * _VERSION_STEP + person if person >= 0 else -1
    return Record("trainval", name, f"unreal_v{scene}.{version}/{match[3]}", pid, (scene, camera))


def draw(records: Sequence[Record], num_ids: int, images_per_id: int, seed: int) -> list[Record]:
    """At most `num_ids` identities with at most `images_per_id` images each, spread over their cameras.

    Identities with fewer images come last. The order of the records does not matter.
    """
    generator = np.random.default_rng(seed)
    by_pid: dict[int, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.original):
        by_pid[record.pid].append(record)
    shuffled = generator.permutation(sorted(by_pid)).tolist()
    chosen = sorted(shuffled, key=lambda pid: len(by_pid[pid]) < images_per_id)[:num_ids]
    drawn: list[Record] = []
    for pid in sorted(chosen):
        turns: Counter[tuple[int, int]] = Counter()  # one image of each camera, then a second of each, and so on
        ranked = []
        for i in generator.permutation(len(by_pid[pid])):
            camera = by_pid[pid][i].camera
            ranked.append((turns[camera], by_pid[pid][i]))
            turns[camera] += 1
        drawn += [record for _, record in sorted(ranked, key=lambda pair: pair[0])[:images_per_id]]
    return drawn
