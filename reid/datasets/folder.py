"""Anybody's own images."""

from pathlib import Path

from reid.datasets.base import SPLITS, Dataset, Release, Sample
from reid.datasets.converted import Record
from reid.datasets.loader import Loader, refuse_overlap
from reid.datasets.market_style import market_records
from reid.datasets.source import Folder
from reid.errors import DatasetError

_FOLDERS = {
    "trainval": ("train", "bounding_box_train"),
    "gallery": ("gallery", "bounding_box_test"),
    "query": ("query",),
}


class OwnFolder(Loader):
    """Your own images: `create("folder", root="my_images")` with my_images/train, my_images/query, my_images/gallery.

    Market's names bounding_box_train and bounding_box_test serve as well. Files begin with identity and
    camera, `0002_c1_anything.jpg` (jpg, jpeg, png, bmp); the cameras found are numbered from 0 in sorted
    order; negative identities are junk. Without camera numbers give each image of an identity another one.
    train may be missing, or both query and gallery. The images stay where they are: nothing is converted,
    checked once, or counted.
    """

    releases = (Release("own images"),)

    def load(self, root: str | Path, split: int = 0) -> Dataset:
        root = Path(root)
        folders = {split_name: self._folder(root, names) for split_name, names in _FOLDERS.items()}
        if bool(folders["query"]) != bool(folders["gallery"]) or not any(folders.values()):
            raise DatasetError(
                f"{root} needs the folders query and gallery, or train, or all three; {self.remedy(root)}"
            )
        source = Folder(root, filter(None, folders.values()))
        for folder in filter(None, folders.values()):
            if not source.images(folder):
                raise DatasetError(
                    f"no images directly in {root / folder} (folders in it are not searched); {self.remedy(root)}"
                )
        records = [record for key in SPLITS if folders[key] for record in market_records(source, "", folders[key], key)]
        refuse_overlap(self.name, source, records)
        return self._dataset(root, records, split)

    def remedy(self, root: Path) -> str:
        return f"put images named like 0002_c1_anything.jpg in {root}/train, {root}/query and {root}/gallery"

    def _folder(self, root: Path, names: tuple[str, ...]) -> str:
        present = [name for name in names if (root / name).is_dir()]
        if len(present) > 1:
            raise DatasetError(f"{root} has both {present[0]} and {present[1]}; keep one of them")
        return present[0] if present else ""

    def _dataset(self, root: Path, records: list[Record], split: int) -> Dataset:
        images = root.absolute()
        camids = {camera: camid for camid, camera in enumerate(sorted({record.camera for record in records}))}
        samples: dict[str, list[Sample]] = {key: [] for key in SPLITS}
        for record in records:
            samples[record.split].append(Sample(str(images / record.name), record.pid, camids[record.camera]))
        return Dataset(self.name, images, samples, len(camids), self.releases[0], split)
