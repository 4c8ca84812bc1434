"""From what a user has of a dataset to its samples: find it, convert it once, load it, compare the counts."""

import logging
import posixpath
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from filelock import FileLock

from reid.datasets import converted
from reid.datasets.archive import is_readable
from reid.datasets.base import SPLITS, Dataset, Release
from reid.datasets.converted import CACHE, Converted, Record
from reid.datasets.parts import Together, is_part, refuse_missing
from reid.datasets.picture import is_picture
from reid.datasets.source import Archives, Folder, Source
from reid.errors import DatasetError, few

logger = logging.getLogger(__name__)

_DEEPEST_PREFIX = 6


def normalise(name: str) -> str:
    """The spelling used for comparison: DukeMTMC-reID and dukemtmc_reid are the same dataset."""
    return name.lower().replace("-", "").replace("_", "").replace(".", "")


class Loader:
    """Base of the datasets. `name` is that in DATASETS and of the folder; `aliases` are others in circulation."""

    aliases: tuple[str, ...] = ()
    archive: str = ""
    releases: tuple[Release, ...]
    train_only = False
    note = ""
    makes: tuple[str, ...] = ()  # files of this project in its folder

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self, root: str | Path, split: int = 0, is_home: bool = False) -> Dataset:
        """The dataset in a folder of `root`, converted first if that has not happened. Raises DatasetError.

        Without such a folder, root itself is taken if it is called like the dataset, or if `is_home` says so.
        """
        root, homes = self._homes(Path(root), is_home)
        ready = [root / home for home in homes if converted.is_converted(root / home)]
        if len(ready) > 1 and ready[0] != root / homes[0]:
            raise _twice(f"{self.name} (converted)", ready[0], ready[1])
        home = ready[0] if ready else self._convert(root, homes)
        known = converted.read(home)
        self._compare(home, known, self._raw(root, homes))
        release = next((release for release in self.releases if release.name == known.release), self.releases[0])
        counted = known.samples, known.num_cameras
        dataset = Dataset(self.name, home / "images", *counted, release, split, self.note, known.original)
        for _, lines in groupby(dataset.differences(), key=lambda line: line.split()[0]):
            logger.warning("%s in %s is not as expected: %s", self.name, home, "; ".join(lines))
        return dataset

    def unlabelled(self, root: str | Path, split: int = 0) -> Dataset | None:
        """Images without identities, all in trainval, where a dataset may have such; None for what `load` takes."""
        return None

    def spellings(self) -> set[str]:
        """Its normalised names."""
        return {normalise(name) for name in (self.name, *self.aliases)}

    def find(self, names: Iterable[str]) -> dict[str, list[Release]]:
        """Folders that hold all that some releases need, each with those; the top if they need no particular one."""
        if not self.releases[0].folders:
            return {"": list(self.releases)} if any(map(is_picture, names)) else {}
        return {
            prefix: fitting
            for prefix, below in _contents(names).items()
            if (fitting := [release for release in self.releases if below.issuperset(release.folders)])
        }

    def records(self, source: Source, prefix: str, release: Release) -> Iterator[Record]:
        """The images of the raw dataset whose top folder is `prefix`. Raises DatasetError naming a strange file."""
        raise NotImplementedError

    def original(self, name: str) -> str:
        """What tells an image from all others, unpacked or not, where images may lie anywhere."""
        return posixpath.basename(name)

    def remedy(self, home: Path) -> str:
        """What to do when there is nothing to load from the dataset's folder."""
        return f"put {self.archive} (zip, tar or tar.gz) or the folder unpacked from it in {home / 'raw'}"

    def _homes(self, root: Path, is_home: bool) -> tuple[Path, list[str]]:
        """Where folders of the dataset lie, and their names there: first the one that it is converted into."""
        expect_folder(root, self.remedy(root / self.name))
        folders = sorted(path.name for path in root.iterdir() if path.is_dir())
        if homes := [folder for folder in folders if normalise(folder) in self.spellings()]:
            return root, [self.name, *(home for home in homes if home != self.name)]
        if is_home or normalise(root.absolute().name) in self.spellings():
            return root.absolute().parent, [root.absolute().name]
        raise DatasetError(f"no folder {root / self.name}; {self.remedy(root / self.name)}")

    def _convert(self, root: Path, homes: Sequence[str]) -> Path:
        home = root / homes[0]
        try:
            home.mkdir(exist_ok=True)
            with FileLock(home / ".converting.lock"):  # other processes wait, and then find the conversion done
                converted.recover(home)
                if not converted.is_converted(home):
                    self._convert_into(home, root, homes)
        except OSError as error:
            raise DatasetError(f"cannot convert {self.name} in {home}: {error}; make room or mend it") from error
        return home

    def _convert_into(self, home: Path, root: Path, homes: Sequence[str]) -> None:
        if present := [part for part in converted.PARTS if (home / part).exists()]:
            problem = f"{home} holds {' and '.join(present)} but not all of {', '.join(converted.PARTS)}"
            raise DatasetError(f"{problem}: other code did not finish; delete them, or move raw data into raw/")
        source, prefix, releases = self._locate(root, homes)
        logger.info("converting %s from %s", self.name, source.describe(prefix))
        records = list(self.records(source, prefix, releases[0]))
        _check(self, source, prefix, records)
        release = _fitting(self, source, releases, records)
        images = Counter(record.split for record in records)
        if isinstance(source, Together) and any(images[key] < count.images for key, count in release.expected.items()):
            source.refuse_lone_part()
        cameras = release.cameras or sorted({record.camera for record in records})
        converted.write(home, self.name, release.name, cameras, source, records)
        warn_of_left_out(self.name, source, records)

    def _locate(self, root: Path, homes: Sequence[str]) -> tuple[Source, str, list[Release]]:
        """The one raw folder of the dataset: an unpacked one if there is any, else one inside archives."""
        images_lie_anywhere = not self.releases[0].folders
        folder = self._raw(root, homes)
        source: Source = folder if images_lie_anywhere else Together(folder)
        candidates, archives = self.find(source.names), folder.archives()
        if archives and not candidates:
            source, candidates = self._inside(folder, archives)
        elif packed := [name for name in archives if images_lie_anywhere or (is_part(name) and is_readable(name))]:
            self._refuse_half_unpacked(folder, packed)
        if not candidates:
            raise DatasetError(self._not_found(root / homes[0], source))
        if len(candidates) > 1:
            raise _twice(self.name, *map(source.describe, sorted(candidates)[:2]))
        return source, *candidates.popitem()

    def _raw(self, root: Path, homes: Sequence[str]) -> Folder:
        """All that lies in the folders of the dataset, but for what is made there."""
        made_there = *converted.PARTS, CACHE, *self.makes
        return Folder(root, homes, skip=(f"{home}/{made}" for home in homes for made in made_there))

    def _compare(self, home: Path, known: Converted, raw: Folder) -> None:
        """Warn of raw names that are not those of the conversion, if there are any, and of images in no split."""
        again = f"to convert again, delete {', '.join(converted.PARTS)} in {home}"
        if known.raw and not set(known.raw).issuperset(raw.fingerprints()):
            logger.warning("%s: raw images have changed since they were converted; %s", self.name, again)
        if known.unlisted:
            where = home / "images"
            logger.warning("%s: %d files in %s are not used: no split lists them", self.name, known.unlisted, where)

    def _inside(self, folder: Folder, archives: list[str]) -> tuple[Source, dict[str, list[Release]]]:
        """What archives hold, and the raw folders in it. Those that cannot be read matter only if nothing is found."""
        images_lie_anywhere = not self.releases[0].folders
        refuse_missing(folder.where, archives)
        for chosen in ([name for name in archives if is_readable(name)], archives):
            opened = Archives(folder.where, chosen, around=folder)
            source: Source = opened if images_lie_anywhere else Together(opened)
            candidates = self.find(source.names)
            if candidates and not images_lie_anywhere:
                break
        inner = source.archives()  # they are not read, so some images could be missed
        if inner and (images_lie_anywhere or not candidates):
            nested = source.describe(inner[0])
            raise DatasetError(f"{self.name}: {nested} is an archive in an archive; unpack the outer one")
        return source, candidates

    def _refuse_half_unpacked(self, folder: Folder, archives: Iterable[str]) -> None:
        """Unpacked images must not hide archives that hold others."""
        unpacked = {self.original(name) for name in folder.all_images()}
        contents = {archive: Archives(folder.where, [archive]).all_images() for archive in archives}
        packed = [folder.describe(a) for a in archives if not unpacked.issuperset(map(self.original, contents[a]))]
        if packed:
            problem = f"some images are unpacked, but those of {', '.join(packed)} are not"
            raise DatasetError(f"{self.name}: {problem}; unpack all archives or none")

    def _not_found(self, home: Path, source: Source) -> str:
        """One line: the nearest thing to the dataset that is there, and what it lacks."""
        contents = _contents(source.names) | {"": set(source.names)}
        candidates = ((prefix, release.folders) for prefix in contents for release in self.releases)
        prefix, folders = max(candidates, key=lambda pair: len(contents[pair[0]].intersection(pair[1])))
        present = sorted(contents[prefix])
        listing = few(present) or "nothing"
        lacking = sorted(set(folders).difference(present))
        missing = f"nothing in {' or '.join(lacking)}" if lacking else "no images"
        return f"{self.name}: {missing} below {source.describe(prefix)} (found there: {listing}); {self.remedy(home)}"


def expect_folder(path: Path, remedy: str) -> None:
    """Raise DatasetError, with what else may help, where there is no folder."""
    if not path.is_dir():
        problem = f"{path} is not a folder" if path.exists() else f"no such folder: {path}"
        raise DatasetError(f"{problem}; check the path (relative to the current folder), or {remedy}")


def _contents(names: Iterable[str]) -> dict[str, set[str]]:
    """Folder -> lower-case names of what is directly in it, down to the greatest depth of a raw folder."""
    contents: dict[str, set[str]] = defaultdict(set)
    for name in names:
        parts = name.split("/")
        for depth in range(min(len(parts), _DEEPEST_PREFIX + 1)):
            contents["/".join(parts[:depth])].add(parts[depth].lower())
    return contents


def _twice(subject: str, first: str | Path, second: str | Path) -> DatasetError:
    return DatasetError(f"{subject} is there twice, as {first} and as {second}; keep one of them")


def _check(loader: Loader, source: Source, prefix: str, records: list[Record]) -> None:
    """Refuse an empty split, an image that is there twice, and a person in both training and test."""
    for split in SPLITS[:1] if loader.train_only else SPLITS:
        if not any(record.split == split for record in records):
            place = source.describe(prefix)
            raise DatasetError(f"{loader.name}: no {split} images in {place}; unpack or download the archive again")
    seen: dict[Hashable, Record] = {}
    for record in records:
        for key in (record.name, (record.split, record.original)):
            if (twin := seen.setdefault(key, record)) is not record:
                places = (f"{source.describe(each.name)} in {each.split}" for each in (twin, record))
                raise _twice(f"{loader.name}: an image", *places)
    check_pids(loader.name, source, records)


def warn_of_left_out(name: str, source: Source, records: Iterable[Record]) -> None:
    """Log how many files are not used, and why, if there are any."""
    if left_out := source.left_out(record.name for record in records):
        logger.warning("%s: %s", name, left_out)


def check_pids(name: str, source: Source, records: list[Record]) -> None:
    """Raise DatasetError for a pid in both training and test, which would not be a test, and one beyond 64 bits."""
    if record := next((record for record in records if record.pid >= 2**63), None):
        raise DatasetError(f"{source.describe(record.name)}: identity {record.pid} is beyond 64 bits; shorten it")
    trained = {record.pid: record.name for record in records if record.split == "trainval"}
    tested = {record.pid: record.name for record in records if record.split != "trainval"}
    if both := sorted(trained.keys() & tested.keys()):
        places = " and ".join(source.describe(names[both[0]]) for names in (trained, tested))
        problem = f"{len(both)} pids are in both training and test, such as {both[0]} in {places}"
        raise DatasetError(f"{name}: {problem}; number them apart")


def _fitting(loader: Loader, source: Source, releases: list[Release], records: list[Record]) -> Release:
    cameras = {record.camera for record in records}
    for release in releases:
        if not release.cameras or cameras.issubset(release.cameras):
            return release
    known = sorted({camera for release in releases for camera in release.cameras})
    if stranger := next((record for record in records if record.camera not in known), None):
        problem = f"camera {stranger.camera} is none of the cameras {known} of {loader.name}"
        raise DatasetError(f"{source.describe(stranger.name)}: {problem}; remove files that do not belong to it")
    problem = f"no single release has the cameras {sorted(cameras)} of {source.where}"
    choices = ", ".join(f"{release.name} {list(release.cameras)}" for release in releases)
    raise DatasetError(f"{loader.name}: {problem}; keep the files of one release ({choices})")
