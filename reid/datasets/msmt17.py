"""MSMT17."""

import posixpath
import re
from collections.abc import Iterator

from reid.datasets.base import SPLITS, Count, Release
from reid.datasets.converted import Record
from reid.datasets.market_style import MARKET_FOLDERS, MarketStyle
from reid.datasets.source import Source
from reid.errors import DatasetError

_LISTS = ("list_train.txt", "list_query.txt", "list_gallery.txt")
_LINE = re.compile(r"(?:.*/)?(\d+/\d+_\d+_(\d+)_[^/]*?)\s+(\d+)")  # path, camera, pid
_CAMERAS = tuple(range(1, 16))
_PER_CAMERA = (4910, 203, 454, 1614, 4296, 1678, 3453, 795, 1396, 655, 3154, 1364, 3635, 3876, 1138)
_EXPECTED = {
    "trainval": Count(1_041, 32_621, _PER_CAMERA),
    "query": Count(3_060, 11_659),
    "gallery": Count(3_060, 82_161),
}


class MSMT17(MarketStyle):
    """MSMT17: 4,101 people on a campus, twelve outdoor and three indoor cameras, four days.

    Paper: Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-Identification, CVPR 2018. Given out by
    the authors on request. MSMT17_V1 has train/ and test/, MSMT17_V2 (faces masked) mask_train_v2/ and mask_test_v2/,
    both with lists of `path pid`; results on the two differ. trainval is list_train plus list_val (if any). The camera
    is field 2 of `0000_000_01_0303morning_0008_0.jpg`, counted from 1. Test pids start at 0 again and are other people:
    they are moved behind the training pids. Repacks in Market layout (`0000_c1_0000.jpg`) load too.
    """

    aliases = ("msmt", "MSMT17_V1", "MSMT17_V2")
    archive = "MSMT17_V1.tar.gz or MSMT17_V2.zip"
    releases = (
        Release("MSMT17_V1", ("train", "test", *_LISTS), _CAMERAS, _EXPECTED),
        Release("MSMT17_V2", ("mask_train_v2", "mask_test_v2", *_LISTS), _CAMERAS, _EXPECTED),
        Release("MSMT17 in Market layout", MARKET_FOLDERS, _CAMERAS, _EXPECTED),
    )

    def records(self, source: Source, prefix: str, release: Release) -> Iterator[Record]:
        in_market_layout = release.folders == MARKET_FOLDERS
        raw = super().records(source, prefix, release) if in_market_layout else _listed(source, prefix, release)
        records = list(raw)
        first_test_pid = 1 + max((record.pid for record in records if record.split == "trainval"), default=-1)
        for record in records:
            yield record if record.split == "trainval" else record._replace(pid=record.pid + first_test_pid)


def _listed(source: Source, prefix: str, release: Release) -> Iterator[Record]:
    """The images that the lists name, each once: some circulating list_train.txt already contain list_val.txt."""
    train, test = release.folders[:2]
    files = {name.lower(): name for name in source.names}
    listed = set()
    for key in ("train", "val", "query", "gallery"):
        split, folder = (key, test) if key in SPLITS else ("trainval", train)
        list_name = files.get(posixpath.join(prefix, f"list_{key}.txt").lower(), "")
        lines = source.lines(list_name) if list_name else []
        if not lines and key != "val":
            raise DatasetError(f"{source.describe(list_name)} is empty; get the list of the original archive")
        for line in lines:
            match = _LINE.fullmatch(line.replace("\\", "/"))
            if match is None:
                problem = f"the line {line[:100]!r} is not like '0000/0000_000_01_0303morning_0008_0.jpg 0'"
                raise DatasetError(f"{source.describe(list_name)}: {problem}; get the list of the original archive")
            path, camera, pid = match.groups()
            original = f"{folder}/{path}"
            name = files.get(posixpath.join(prefix, original).lower())
            if name is None:
                missing = source.describe(posixpath.join(prefix, original))
                raise DatasetError(f"{missing} is missing, list_{key}.txt names it; unpack or download MSMT17 again")
            if (split, name) not in listed:
                listed.add((split, name))
                yield Record(split, name, original, int(pid), int(camera))
