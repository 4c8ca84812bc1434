"""PersonX."""

import posixpath
from collections.abc import Iterable, Iterator

from reid.datasets.base import Count, Release
from reid.datasets.converted import Record
from reid.datasets.market_style import MARKET_FOLDERS, MarketStyle
from reid.datasets.source import Source

_JOINED = ("4", "5", "6")
_MERGED = {
    "trainval": Count(410, 44_280, (14_760, 14_760, 14_760)),
    "query": Count(856, 2_568, (856, 856, 856)),
    "gallery": Count(856, 92_448, (30_816, 30_816, 30_816)),
}
_VISDA = {"trainval": Count(410, 9_840), "query": Count(856, 5_136), "gallery": Count(856, 30_816)}


class PersonX(MarketStyle):
    """PersonX: 1,266 rendered people turned through 36 viewpoints, a camera being a background.

    Paper: Sun and Zheng, Dissecting Person Re-identification from the Viewpoint of Viewpoint, CVPR 2019; linked from
    the authors' project page. Three incompatible forms circulate, told apart by the cameras in names such as
    `0001_c4s1_33.jpg`: personX456 (backgrounds 4, 5 and 6 merged, the virtual set of MetaAttack; counts derived from
    1,266 x 36 images per background), the release of the VisDA challenge, and other merges of PersonX_v1. Of PersonX_v1
    as given out, a folder for each background, 4, 5 and 6 are read as if merged: that number is also the camera in the
    names. Query images are in the gallery too, where the same-camera rule removes them.
    """

    aliases = ("personX456", "PersonX_v1")
    archive = "personX456.zip"
    releases = (
        Release("personX456", MARKET_FOLDERS, (4, 5, 6), _MERGED),
        Release("PersonX VisDA", MARKET_FOLDERS, (3, 4, 8, 10, 11, 12), _VISDA),
        Release("PersonX_v1", MARKET_FOLDERS, (1, 2, 3, 4, 5, 6)),
    )

    def find(self, names: Iterable[str]) -> dict[str, list[Release]]:
        fitting = super().find(names)
        for top in set(map(posixpath.dirname, fitting)):
            if fitting.keys() >= {posixpath.join(top, background) for background in _JOINED}:
                for prefix in list(fitting):
                    if posixpath.dirname(prefix) == top and posixpath.basename(prefix).isdecimal():
                        del fitting[prefix]
                fitting[top] = [self.releases[0]]
        return fitting

    def records(self, source: Source, prefix: str, release: Release) -> Iterator[Record]:
        merged = source.images(posixpath.join(prefix, MARKET_FOLDERS[0]))
        for folder in ("",) if merged else _JOINED:
            yield from super().records(source, posixpath.join(prefix, folder), release)
