"""A user's own dataset: images ana_door_1.jpg (person, camera, number) in the folders train, query and gallery."""

import posixpath

from reid.datasets import DATASETS, Loader, Release
from reid.datasets.converted import Record
from reid.errors import DatasetError


@DATASETS.register("toy-people", "six people at two doors")
class ToyPeople(Loader):
    """Put the three folders, or a zip of them, into ROOT/toy-people/raw."""

    archive = "toy.zip"
    releases = (Release("toy", folders=("train", "query", "gallery"), cameras=("door", "gate")),)

    def records(self, source, prefix, release):
        people = {}
        for split, folder in (("trainval", "train"), ("query", "query"), ("gallery", "gallery")):
            for name in source.images(posixpath.join(prefix, folder)):
                try:
                    person, camera, _ = posixpath.basename(name).split("_")
                except ValueError as error:
                    raise DatasetError(f"{source.describe(name)} is not named like ana_door_1.jpg") from error
                yield Record(
                    split, name, posixpath.relpath(name, prefix), people.setdefault(person, len(people)), camera
                )
