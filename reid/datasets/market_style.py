"""The Market-1501 layout, which most later datasets copy: three folders, and names that begin with pid and camera."""

import posixpath
import re
from collections.abc import Iterator

from reid.datasets.base import Release
from reid.datasets.converted import Record
from reid.datasets.loader import Loader
from reid.datasets.source import Source
from reid.errors import DatasetError

MARKET_FOLDERS = ("bounding_box_train", "bounding_box_test", "query")
_PATTERN = re.compile(r"(-?\d+)_c(\d+)")


class MarketStyle(Loader):
    """Reads bounding_box_train, bounding_box_test and query; `0002_c1s1_000451_03.jpg` is pid 2 at camera 1.

    Pid -1 marks junk, which is left out as in the official evaluation; pid 0 marks distractors, which are kept.
    """

    def records(self, source: Source, prefix: str, release: Release) -> Iterator[Record]:
        for split, folder in zip(("trainval", "gallery", "query"), MARKET_FOLDERS, strict=True):
            yield from market_records(source, prefix, folder, split)


def market_records(source: Source, prefix: str, folder: str, split: str) -> Iterator[Record]:
    """Records of one folder in Market naming. Raises DatasetError for an empty folder or a strange name."""
    path = posixpath.join(prefix, folder)
    images = source.images(path)
    if not images:
        raise DatasetError(f"no images in {source.describe(path)}; unpack or download the dataset again")
    for name in images:
        base = posixpath.basename(name)
        match = _PATTERN.match(base)
        if match is None:
            problem = "the name does not begin with identity and camera as in 0002_c1s1_000451_03.jpg"
            raise DatasetError(f"{source.describe(name)}: {problem}; rename or remove the file")
        pid, camera = map(int, match.groups())
        if pid >= 0:
            yield Record(split, name, f"{folder}/{base}", pid, camera)
