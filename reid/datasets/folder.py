"""Anybody's own images."""

import logging
import os
from pathlib import Path

from reid.datasets import loose
from reid.datasets.base import SPLITS, Dataset, Release, Sample
from reid.datasets.converted import CACHE, Record
from reid.datasets.loader import Loader, check_pids, expect_folder, warn_of_left_out
from reid.datasets.market_style import MARKET_FOLDERS, market_records, named_pid
from reid.datasets.source import Folder
from reid.errors import DatasetError, UsageError

logger = logging.getLogger(__name__)

_FOLDERS = {"trainval": ("train", MARKET_FOLDERS[0]), "gallery": ("gallery", MARKET_FOLDERS[1]), "query": ("query",)}


class OwnFolder(Loader):
    """Your own images: `create("folder:my_images")`, in my_images/train, my_images/query, my_images/gallery.

    `create("folder", root="my_images")` is the same set under the name "folder".

    Market's names bounding_box_train and bounding_box_test serve as well. Files begin with identity and camera,
    `0002_c1_anything.jpg`; negative identities are junk; the cameras are numbered from 0 in sorted order (without
    cameras give each image of an identity another one). train may be missing, or both query and gallery. Queries with
    a negative identity are `unknown`. The images stay where they are, unchecked.
    """

    releases = (Release("own images"),)

    def load(self, root: str | Path, split: int = 0, is_home: bool = False) -> Dataset:
        root, name = self._place(root)
        expect_folder(root, self.remedy(root))
        folders = {key: folder for key in SPLITS if (folder := self._folder(root, _FOLDERS[key]))}
        if not folders or len(folders.keys() & {"query", "gallery"}) == 1:
            problem = "needs the folders query and gallery, or train, or all three"
            raise DatasetError(f"{root} {problem}; {self.remedy(root)}")
        source = Folder(root, [""], skip=[CACHE])
        records: list[Record] = []
        for key, folder in folders.items():
            if not source.images(folder):
                place = f"{root / folder} (folders in it are not searched)"
                raise DatasetError(f"no images directly in {place}; {self.remedy(root)}")
            records += market_records(source, "", folder, key, junk=True)
        unknown = [record._replace(split="unknown") for record in records if record.pid < 0 and record.split == "query"]
        identified = [record for record in records if record.pid >= 0]
        if left_out := len(records) - len(identified):
            words = "%s: %d images have no identity (-1), %d of them queries; they are neither scored nor trained on"
            logger.warning(words, name, left_out, len(unknown))
        check_pids(name, source, identified)
        warn_of_left_out(name, source, records)
        images = root.absolute()
        kept = identified + unknown
        camids = {camera: camid for camid, camera in enumerate(sorted({record.camera for record in kept}))}
        samples: dict[str, list[Sample]] = {key: [] for key in (*SPLITS, "unknown")}
        for record in kept:
            samples[record.split].append(Sample(f"{images}/{record.name}", record.pid, camids[record.camera]))
        return Dataset(name, images, samples, len(camids), self.releases[0], split)

    def unlabelled(self, root: str | Path, split: int = 0) -> Dataset | None:
        """The pictures of the folder train, or of all the folder where it has neither query nor gallery, whoever is on
        them: all of pid -1. None where each name in train says who it is, as `load` wants it."""
        root, name = self._place(root)
        expect_folder(root, self.remedy(root))
        train = self._folder(root, _FOLDERS["trainval"])
        if not train and any(self._folder(root, _FOLDERS[key]) for key in ("query", "gallery")):
            return None
        found = [*loose.samples(root / train).values()]
        pids = [named_pid(os.path.basename(sample.path)) for sample in found]
        if train and all(pid is not None and pid >= 0 for pid in pids):
            return None
        samples = {"trainval": found, "gallery": [], "query": []}
        return Dataset(name, root.absolute(), samples, 1, self.releases[0], split, "no identities")

    def remedy(self, home: Path) -> str:
        return f"put images named like 0002_c1_anything.jpg in {home}/train, {home}/query and {home}/gallery"

    def _place(self, root: str | Path) -> tuple[Path, str]:
        """The folder, and the name of the set: that of the folder, however the path to it is written."""
        _, colon, path = self.name.partition(":")
        if colon and not path:
            raise UsageError(f"{self.name} names no folder; write folder:PATH")
        path = os.path.expanduser(path or root)
        return Path(path), f"folder:{os.path.basename(os.path.abspath(path))}" if colon else self.name

    def _folder(self, root: Path, names: tuple[str, ...]) -> str:
        present = sorted(path.name for path in root.iterdir() if path.name.lower() in names and path.is_dir())
        if len(present) > 1:
            raise DatasetError(f"{root} has both {present[0]} and {present[1]}; keep one of them")
        return present[0] if present else ""
