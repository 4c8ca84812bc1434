"""Exhibits: what a row did to a few images and to their ranked lists, as pictures in a .zip next to its result.

Queries are evenly spaced, and none is picked for its effect. docs/results-format.md has the layout of the file.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid.attacks.base import Attack
from reid.attacks.shown import MAGNIFIED, colour_slices, magnified_difference
from reid.attacks.universal.perturbations import NODES, Delta, Perturbation
from reid.datasets import Dataset
from reid.errors import ReidError
from reid.evaluation.results import Result
from reid.evaluation.retrieval import Places, Retrieval, Score
from reid.loading import ImageStore, to_images
from reid.loading.encode import jpeg, to_image
from reid.runtime.files import write_atomically

SCHEMA_VERSION = 1
SHOWN, LISTED = 4, 8  # queries of a row, and images of a ranked list
MOST = 400  # queries of which the row of clean images has a picture
THUMBNAIL, SMALL = 96, 64  # heights
LARGEST = 2**26  # bytes of all pictures of a row
CONTENT = "exhibit.json"
SIDES = ("query", "gallery")


class Shown(NamedTuple):
    """What an exhibit says, and its pictures, JPEG files, by name."""

    content: dict[str, Any]
    files: dict[str, bytes]


@dataclass
class Exhibit:
    """What is shown of one row. `asking` are the positions of the queries of `retrieval` among all, None: the same."""

    retrieval: Retrieval
    dataset: Dataset
    asking: Sequence[int] | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shown = evenly(len(self.retrieval.query), SHOWN)
        self.clean = self._lists(self.retrieval.clean)
        first = [int(places[0]) for places in self.clean if places[0] >= 0]
        self.keep: tuple[Places, Places] = (self.shown, list(dict.fromkeys(first)))

    def content(self, score: Score, attack: Attack | None, side: str) -> bytes:
        """The file, of a score that kept the images of `keep`."""
        if attack is None:
            content: dict[str, Any] = {"people": self._people()}
        else:
            lists = zip(self.shown, self.clean, self._lists(score.features), strict=True)
            content = {
                "side": side,
                "magnified": MAGNIFIED,
                "queries": [self._query(*each) for each in lists],
                "pairs": [pair for place in zip(SIDES, score.kept, strict=True) for pair in self._pairs(*place)],
                "perturbation": self._perturbation(attack),
            }
        text = json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=1)
        return zipped({CONTENT: text.encode(), **self.files})

    def _lists(self, features: tuple[Tensor, Tensor]) -> np.ndarray:
        """Positions in the gallery of the images that come first for the shown queries."""
        store = ImageStore([self.retrieval.query.samples[place] for place in self.shown], 1, 1)
        return self.retrieval.rank_list(store, features[0][self.shown], features[1], LISTED).places

    def _people(self) -> list[dict[str, Any]]:
        """Queries, a small picture of each."""
        query = self.retrieval.query
        places = evenly(len(query), MOST)
        pixels = to_images(query.batch(places), torch.device("cpu"))
        return [
            {**self._named(query, place), "image": self._file(f"person-{place}.jpg", image, SMALL)}
            for place, image in zip(places, pixels, strict=True)
        ]

    def _query(self, place: int, clean: np.ndarray, attacked: np.ndarray) -> dict[str, Any]:
        pid = self.retrieval.query.samples[place].pid
        places = {"clean": clean, "attacked": attacked}
        lists = {name: [self._answer(int(each), pid) for each in first if each >= 0] for name, first in places.items()}
        image = to_images(self.retrieval.query.batch([place]), torch.device("cpu"))[0]
        return {
            **self._named(self.retrieval.query, place),
            "image": self._file(f"query-{self._position(place)}.jpg", image, THUMBNAIL),
            **lists,
        }

    def _answer(self, place: int, pid: int) -> dict[str, Any]:
        """An image of the gallery as it is, and whether it shows the person."""
        gallery = self.retrieval.gallery
        image = to_images(gallery.batch([place]), torch.device("cpu"))[0]
        match = gallery.samples[place].pid == pid
        return {"image": self._file(f"gallery-{place}.jpg", image, THUMBNAIL), "match": match}

    def _pairs(self, side: str, kept: Mapping[int, Tensor]) -> list[dict[str, Any]]:
        """Images before and after, and the difference."""
        store = self.retrieval.query if side == "query" else self.retrieval.gallery
        pairs = []
        for place, attacked in sorted(kept.items()):
            image = to_images(store.batch([place]), torch.device("cpu"))[0]
            name = f"{side}-{self._position(place) if side == 'query' else place}"
            shown = {"before": image, "after": attacked, "difference": magnified_difference(image, attacked)}
            files = {what: self._file(f"{name}-{what}.jpg", pixels) for what, pixels in shown.items()}
            pairs.append({"side": side, **self._named(store, place), **files})
        return pairs

    def _perturbation(self, attack: Attack) -> dict[str, str]:
        """Pictures of a universal perturbation: its colour table, and its noise with the budget as full contrast."""
        if not isinstance(attack, Perturbation):
            return {}
        pictures = {}
        if slices := colour_slices(attack):
            table = torch.cat([torch.cat(list(part), dim=2) for part in slices], dim=1)  # (3, 2 x 25, 5 x 25)
            larger = to_image(table).resize((3 * 5 * NODES, 3 * 2 * NODES), Image.Resampling.NEAREST)
            pictures["colours"] = self._keep("colours.jpg", jpeg(larger))
        for layer in attack.layers():
            if isinstance(layer, Delta) and layer.threat.eps_delta:
                pixels = 0.5 + layer.delta.detach()[0].cpu() / (2 * layer.threat.eps_delta)
                pictures["delta"] = self._file("delta.jpg", pixels)
        return pictures

    def _named(self, store: ImageStore, place: int) -> dict[str, Any]:
        sample = store.samples[place]
        position = self._position(place) if store is self.retrieval.query else place
        name = self.dataset.original_name(sample)
        return {"place": position, "file": name, "pid": sample.pid, "camid": sample.camid}

    def _position(self, place: int) -> int:
        """Of a query, among all."""
        return place if self.asking is None else int(self.asking[place])

    def _file(self, name: str, pixels: Tensor, height: int | None = None) -> str:
        return name if name in self.files else self._keep(name, jpeg(to_image(pixels), height))

    def _keep(self, name: str, content: bytes) -> str:
        self.files[name] = content
        return name


def evenly(count: int, most: int) -> list[int]:
    """At most `most` places of `count`, evenly spaced."""
    number = min(count, most)
    return [round((i + 0.5) * count / number - 0.5) for i in range(number)]


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Files as a .zip whose bytes say nothing but them: no dates."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for name, content in files.items():
            writer.writestr(zipfile.ZipInfo(name), content)
    return archive.getvalue()


def path_of(folder: str | Path, result: Result) -> Path:
    """Where the exhibit of a result is."""
    return (Path(folder) / result.file_name).with_suffix(".zip")


def write_exhibit(folder: str | Path, result: Result, content: bytes) -> None:
    """Write it next to the result, whole or not at all."""
    write_atomically(path_of(folder, result), lambda temporary: temporary.write_bytes(content))


def read_exhibit(folder: str | Path, result: Result) -> Shown | None:
    """The exhibit of a result; None where there is none. Raises ReidError for a damaged file."""
    path = path_of(folder, result)
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > LARGEST:
                raise ValueError(f"{size} bytes once unpacked")
            files = {name: archive.read(name) for name in archive.namelist()}
        return Shown(json.loads(files.pop(CONTENT)), files)
    except (OSError, ValueError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ReidError(f"{path} is no exhibit of a result ({error}); remove it, or evaluate again") from error
