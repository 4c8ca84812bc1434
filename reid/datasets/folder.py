"""Anybody's own images."""

from pathlib import Path

from reid.datasets.base import SPLITS, Dataset, Release, Sample
from reid.datasets.converted import CACHE, Record
from reid.datasets.loader import Loader, refuse_overlap, warn_of_left_out
from reid.datasets.market_style import MARKET_FOLDERS, market_records
from reid.datasets.source import Folder
from reid.errors import DatasetError

_FOLDERS = {"trainval": ("train", MARKET_FOLDERS[0]), "gallery": ("gallery", MARKET_FOLDERS[1]), "query": ("query",)}


class OwnFolder(Loader):
    """Your own images: `create("folder", root="my_images")` with my_images/train, my_images/query, my_images/gallery.

    Market's names bounding_box_train and bounding_box_test serve as well. Files begin with identity and camera,
    `0002_c1_anything.jpg`; negative identities are junk; the cameras are numbered from 0 in sorted order (without
    cameras give each image of an identity another one). train may be missing, or both query and gallery. The images
    stay where they are, unchecked.
    """

    releases = (Release("own images"),)

    def load(self, root: str | Path, split: int = 0) -> Dataset:
        root = Path(root)
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
            records += market_records(source, "", folder, key)
        refuse_overlap(self.name, source, records)
        warn_of_left_out(self.name, source, records)
        images = root.absolute()
        camids = {camera: camid for camid, camera in enumerate(sorted({record.camera for record in records}))}
        samples: dict[str, list[Sample]] = {key: [] for key in SPLITS}
        for record in records:
            samples[record.split].append(Sample(f"{images}/{record.name}", record.pid, camids[record.camera]))
        return Dataset(self.name, images, samples, len(camids), self.releases[0], split)

    def remedy(self, root: Path) -> str:
        return f"put images named like 0002_c1_anything.jpg in {root}/train, {root}/query and {root}/gallery"

    def _folder(self, root: Path, names: tuple[str, ...]) -> str:
        present = [name for name in names if (root / name).is_dir()]
        if len(present) > 1:
            raise DatasetError(f"{root} has both {present[0]} and {present[1]}; keep one of them")
        return present[0] if present else ""
