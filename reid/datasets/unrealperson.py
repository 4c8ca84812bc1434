"""UnrealPerson."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from reid.datasets.base import Count, Release
from reid.datasets.converted import Record
from reid.datasets.loader import Loader
from reid.datasets.source import Source
from reid.errors import DatasetError

NUM_IDS, IMAGES_PER_ID, SEED = 3_000, 40, 0
_PATTERN = re.compile(r"unreal_v(\d+)\.(\d+)(?:\.tar|\.tar\.gz|\.tgz|\.zip)?/(images/(-?\d+)_c(\d+)_\d+\.\w+)$")
_VERSION_STEP = 100_000
_LIST = "list_unreal_train.txt"


class UnrealPerson(Loader):
    """UnrealPerson: 6,799 people rendered in a game engine, 1,256,381 images, 34 cameras. For training only.

    Paper: Zhang et al., UnrealPerson: An Adaptive Pipeline towards Costless Person Re-identification, CVPR 2021.
    Archives unreal_v{1-4}.{1-3}.tar, or one UnrealPerson.tar with all of them, linked from the authors' project page.
    In `unreal_vX.Y/images/P_cD_N.jpg` X is the scene and Y the kind of human model: an identity is (Y, P), stored as
    pid Y * 100,000 + P, and a camera is (X, D). Of everything found we keep the paper's training setting: 3,000
    identities with 40 images each, spread over their cameras, drawn with seed 0 from sorted lists. The paper's own
    draw was not published; if a list_unreal_train.txt is there, exactly its images are taken instead.
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
        listed = {line.split()[0] for name in lists for line in source.lines(name)}
        return (record for record in records if record.original in listed)

    def original(self, name: str) -> str:
        match = _PATTERN.search(name)
        return f"unreal_v{match[1]}.{match[2]}/{match[3]}" if match else name


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

    Identities with fewer images are taken only when there are not enough others. The draw follows from the seed and
    the set of records, not from their order.
    """
    generator = np.random.default_rng(seed)
    by_pid: dict[int, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.original):
        by_pid[record.pid].append(record)
    shuffled = generator.permutation(sorted(by_pid)).tolist()
    chosen = sorted(shuffled, key=lambda pid: len(by_pid[pid]) < images_per_id)[:num_ids]
    drawn: list[Record] = []
    for pid in sorted(chosen):
        order = [by_pid[pid][i] for i in generator.permutation(len(by_pid[pid]))]
        drawn += _one_of_each_camera_in_turn(order)[:images_per_id]
    return drawn


def _one_of_each_camera_in_turn(records: Iterable[Record]) -> list[Record]:
    turns: Counter[tuple[int, int]] = Counter()
    ranked = []
    for record in records:
        ranked.append((turns[record.camera], record))
        turns[record.camera] += 1
    return [record for _, record in sorted(ranked, key=lambda pair: pair[0])]
