"""RandPerson."""

import posixpath
import re
from collections.abc import Iterator

from reid.datasets.base import Count, Release
from reid.datasets.converted import Record
from reid.datasets.loader import Loader
from reid.datasets.source import Source
from reid.errors import DatasetError

_PID, _SCENE, _CAMERA = (re.compile(pattern) for pattern in (r"(\d+)_", r"_s(\d+)", r"_c(\d+)"))
_CAMERAS_OF_SCENES = (2, 2, 2, 2, 1, 1, 2, 1, 1, 1, 4)
_CAMERAS = [(scene, camera) for scene, number in enumerate(_CAMERAS_OF_SCENES) for camera in range(number)]


class RandPerson(Loader):
    """RandPerson: 8,000 rendered people in random clothes, 11 scenes, 19 cameras. For training only.

    Paper: Wang, Liao and Shao, Surpassing Real-World Source Training Data: Random 3D Characters for Generalizable
    Person Re-Identification, ACM MM 2020. The subset of 132,145 images, linked from the authors' project page, unpacks
    to randperson_subset/. Names are read by letter, because scene and camera changed places:
    `000000_s00_c00_f000264.jpg`, earlier `000000_c00_s00_f000264.jpg`. Cameras count within a scene, camid through all.
    """

    aliases = ("randperson_subset",)
    archive = "the RandPerson subset archive"
    train_only = True
    releases = (Release("RandPerson subset", cameras=tuple(range(19)), expected={"trainval": Count(8_000, 132_145)}),)

    def records(self, source: Source, prefix: str, release: Release) -> Iterator[Record]:
        for name in source.all_images():
            base = posixpath.basename(name)
            pid, scene, camera = _PID.match(base), _SCENE.search(base), _CAMERA.search(base)
            place = (int(scene[1]), int(camera[1])) if scene and camera else None
            if pid is None or place not in _CAMERAS:
                problem = "the name is not like 000000_s00_c00_f000264.jpg, a scene of 0 to 10 and one of its cameras"
                raise DatasetError(f"{source.describe(name)}: {problem}; rename or remove the file")
            yield Record("trainval", name, base, int(pid[1]), _CAMERAS.index(place))
