"""Rank lists: the first images of the gallery for each query, in one JSON file; see docs/results-format.md."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from reid.attacks.base import Attack
from reid.datasets import Dataset, Sample
from reid.errors import UsageError
from reid.evaluation.results import file_name
from reid.evaluation.retrieval import Retrieval, test_samples
from reid.loading import ImageStore
from reid.runtime import distributed
from reid.runtime.files import write_atomically

SCHEMA_VERSION = 1


def listed_samples(dataset: Dataset) -> tuple[list[Sample], list[Sample]]:
    """Query and gallery, as `test_samples`; where there are unknown queries, there need be no others."""
    return (dataset.query, dataset.gallery) if dataset.unknown and dataset.gallery else test_samples(dataset)


@dataclass
class RankLists:
    """The file `path`: the first `topk` images of the gallery for each query, clean and under each attack.

    `unknown` are the images of the dataset's unknown queries. Raises UsageError for a path that cannot be such a file,
    or that is in the folder `results`, where there are results only.
    """

    path: Path
    topk: int
    dataset: Dataset
    retrieval: Retrieval
    unknown: ImageStore
    results: Path
    rows: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.suffix.lower() != ".json" or self.path.is_dir():
            raise UsageError(f"--rank-list {self.path} is to be a file that ends in .json")
        if self.path.resolve().parent == self.results.resolve():
            raise UsageError(f"--rank-list {self.path} is among the results, where nothing else may be; move it")

    def add(
        self,
        identity: Mapping[str, Any],
        attack: Attack | None,
        side: str,
        features: tuple[Tensor, Tensor] | None = None,
        asking: ImageStore | None = None,
    ) -> None:
        """List what `attack` on `side` leads to and write the file. `identity` is that of the result, `features` are
        those of its score, of the queries `asking` and the gallery; without them there are only unknown queries."""
        gallery = features[1] if features else self.retrieval.features(self.retrieval.gallery, attack, side).features
        queries = self._listed(asking, features[0], gallery) if features and asking else []
        if len(self.unknown):
            own = self.retrieval.features(self.unknown, attack, side).features
            queries += self._listed(self.unknown, own, gallery)
        name, result = identity["attack"]["name"], file_name(identity) if features else None
        parts = {part: identity[part] for part in ("attack", "threat")}
        if name in self.rows and any(self.rows[name][part] != value for part, value in parts.items()):
            name = f"{name} {Path(file_name(identity)).stem[-8:]}"  # the hash of all that tells experiments apart
        self.rows[name] = {**parts, "result": result, "queries": queries}
        distributed.from_main(lambda: self._write({part: identity[part] for part in ("victim", "dataset", "protocol")}))

    def _listed(self, store: ImageStore, query: Tensor, gallery: Tensor) -> list[dict[str, Any]]:
        """Each query with the images that come first for it."""
        lists = self.retrieval.rank_list(store, query, gallery, self.topk)
        queries = []
        for sample, places, distances in zip(store.samples, lists.places, lists.distances.tolist(), strict=True):
            known, first = sample.pid >= 0, []
            for place, distance in zip(places, distances, strict=True):
                if place >= 0:
                    image = self.retrieval.gallery.samples[place]
                    match = image.pid == sample.pid if known else None
                    first.append({**self._image(image), "distance": distance, "match": match})
            queries.append({**self._image(sample), "gallery": first})
        return queries

    def _image(self, sample: Sample) -> dict[str, Any]:
        return {"file": self.dataset.original_name(sample), "pid": sample.pid, "camid": sample.camid}

    def _write(self, head: Mapping[str, Any]) -> None:
        left_out = "images of the gallery with the pid and the camera of the query, and junk (pid -1)"
        content = {"schema_version": SCHEMA_VERSION, "topk": self.topk, "left_out": left_out, **head}
        text = json.dumps(content | {"rows": self.rows}, allow_nan=False) + "\n"
        write_atomically(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
