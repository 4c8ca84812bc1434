"""The evaluation of one victim on one query and gallery: clean features once, then any number of perturbations."""

import hashlib
import logging
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid.attacks import Attack
from reid.attacks.threat import SIDES
from reid.datasets import Dataset, Sample
from reid.errors import DatasetError, UsageError
from reid.evaluation.distances import BY_NAME, squared_euclidean
from reid.evaluation.features import batches_here, extract, largest
from reid.evaluation.ranking import Ranking, block_rows, rank
from reid.loading import ImageStore
from reid.models.network import ReidModel
from reid.runtime import distributed
from reid.runtime.device import Compute

logger = logging.getLogger(__name__)
BESIDE = 2**30  # bytes: what ranking on a GPU takes beyond features and distances, with room to spare


class ImageOptions(typing.Protocol):
    """Size of images, threads that decode them, where they are kept; parsed options of a script have all four."""

    height: int
    width: int
    workers: int
    cache: str


@dataclass(frozen=True)
class Score:
    """A ranking, and the budget spent on the images that were ranked (empty when nothing was perturbed)."""

    ranking: Ranking
    spent: dict[str, float]


class Protocol:
    """Scores of a victim (images to features, in eval mode) on fixed query and gallery stores.

    Clean features are computed once, when first needed. `rank_options` go to `rank`. Of several processes each computes
    its share of all features and ranks its share of the gallery; all get the same scores.
    """

    def __init__(
        self,
        victim: Callable[[Tensor], Tensor],
        query: ImageStore,
        gallery: ImageStore,
        compute: Compute,
        batch_size: int = 64,
        **rank_options: Any,
    ) -> None:
        self.victim, self.query, self.gallery = victim, query, gallery
        self.compute, self.batch_size, self.rank_options = compute, batch_size, rank_options
        batches = -(-len(gallery) // batch_size)
        self._pairwise = rank_options.get("distances", squared_euclidean) in BY_NAME.values()
        self._sharded = 1 < distributed.size() <= batches and self._pairwise  # re-ranking needs all images

    @classmethod
    def of(
        cls,
        victim: Callable[[Tensor], Tensor],
        samples: tuple[Sequence[Sample], Sequence[Sample]],
        images: ImageOptions,
        compute: Compute,
        **options: Any,
    ) -> "Protocol":
        """The protocol on (query, gallery) lists of samples, such as `test_samples` and `validation_samples` give."""
        return cls(victim, *_stores(samples, images), compute, **options)

    @cached_property
    def clean(self) -> tuple[Tensor, Tensor]:
        """Clean features of the queries, and of the gallery or this process's share of it."""
        return self._features(self.query)[0], self._features(self.gallery)[0]

    def score(self, attack: Attack | None = None, side: str = "query") -> Score:
        """Rank the gallery for every query, with `attack` on the images of `side`."""
        if side not in SIDES:
            raise UsageError(f"side {side!r} is not one of {', '.join(SIDES)}")
        query, gallery = self.clean
        spent: dict[str, float] = {}
        if attack is not None:
            if side in ("query", "both"):
                query, spent = self._features(self.query, attack)
            if side in ("gallery", "both"):
                gallery, on_gallery = self._features(self.gallery, attack)
                spent = largest(spent, on_gallery)
        return Score(self.rank(query, gallery), spent)

    def rank(self, query: Tensor, gallery: Tensor) -> Ranking:
        """Rank features of the two sides, such as `clean` gives, under the pids and camids of the samples."""
        samples = self.gallery.samples
        if self._sharded:
            here = batches_here(len(samples), self.batch_size)
            samples = samples[here[0].start : here[-1].stop]
        device = self._ranks_on(query, gallery)
        return rank(
            query.to(device),
            gallery.to(device),
            *_ids(self.query.samples, samples),
            sharded=self._sharded,
            **self.rank_options,
        )

    def _ranks_on(self, query: Tensor, gallery: Tensor) -> torch.device:
        """The network's device where ranking takes half of its memory at most, else the CPU; alike on all processes."""
        device = self.compute.device
        fits = self._pairwise and device.type != "mps"  # re-ranking is written for the CPU; MPS has no float64
        if device.type == "cuda":
            block = 4 * block_rows(len(query), len(gallery)) * len(gallery)
            needed = 2 * (query.nbytes + gallery.nbytes + block) + BESIDE
            fits &= 2 * needed <= torch.cuda.get_device_properties(device).total_memory
        return device if all(distributed.every(fits)) else torch.device("cpu")

    def _features(self, store: ImageStore, attack: Attack | None = None) -> tuple[Tensor, dict[str, float]]:
        whole = store is self.query or not self._sharded
        return extract(self.victim, store, self.compute, self.batch_size, attack, whole)


def validation(
    model: ReidModel,
    dataset: Dataset,
    images: ImageOptions,
    compute: Compute,
    attacks: Callable[[], Sequence[Attack]] = tuple,
    **options: Any,
) -> Callable[[], dict[str, float]]:
    """A function that scores the model as it then is, in eval mode, on the validation identities of a dataset.

    It gives `val_mAP`, and where `attacks()` names attacks `val_attacked`, the mAP under the worst. The images are
    decoded once. Raises DatasetError like `validation_samples`.
    """
    query, gallery = _stores(validation_samples(dataset), images)

    def scores() -> dict[str, float]:
        protocol = Protocol(model.eval().features, query, gallery, compute, **options)
        found = {"val_mAP": protocol.score().ranking.mAP}
        if attacked := [protocol.score(attack).ranking.mAP for attack in attacks()]:
            found["val_attacked"] = min(attacked)
        return found

    return scores


def _stores(samples: tuple[Sequence[Sample], Sequence[Sample]], images: ImageOptions) -> tuple[ImageStore, ImageStore]:
    query, gallery = (ImageStore(part, images.height, images.width, images.workers, images.cache) for part in samples)
    return query, gallery


def log_scores(words: str, protocol: Protocol, attacks: Mapping[str, Attack]) -> None:
    """Log mAP and rank-1, clean and under each attack; `words` begin each line."""
    named: dict[str, Attack | None] = {"clean": None, **attacks}
    for name, attack in named.items():
        ranking = protocol.score(attack).ranking
        rank1 = ranking.cmc["market1501"][0]
        logger.info("%s %-8s  mAP %.3f  rank-1 %.3f", words, name, ranking.mAP, rank1)


def _ids(query: Sequence[Sample], gallery: Sequence[Sample]) -> list[np.ndarray]:
    return [
        np.array([getattr(sample, name) for sample in samples], dtype=np.int64)
        for name in ("pid", "camid")
        for samples in (query, gallery)
    ]


def test_samples(dataset: Dataset) -> tuple[list[Sample], list[Sample]]:
    """Query and gallery of a dataset. Raises DatasetError for a train-only set."""
    if not dataset.query or not dataset.gallery:
        raise DatasetError(f"{dataset.name} has no query and gallery to evaluate on; it serves for training only")
    return dataset.query, dataset.gallery


def validation_samples(dataset: Dataset) -> tuple[list[Sample], list[Sample]]:
    """Query and gallery made of the validation identities: the first image of each (pid, camid) asks, all answer.

    An image does not find itself: the protocol leaves out same person, same camera. Raises DatasetError when no
    validation identity is seen by two cameras.
    """
    query: dict[tuple[int, int], Sample] = {}
    for sample in dataset.val:
        query.setdefault((sample.pid, sample.camid), sample)
    if len(query) == len({pid for pid, _ in query}):
        raise DatasetError(
            f"{dataset.name}: no validation identity is seen by two cameras, so no epoch can be chosen by mAP; "
            "use --combine-trainval, which trains on all identities and keeps the last epoch"
        )
    return list(query.values()), dataset.val


def fingerprint(query: Sequence[Sample], gallery: Sequence[Sample]) -> str:
    """Hash of what is ranked: file names, pids and camids of query and gallery, in order."""
    digest = hashlib.sha256()
    for sample in (*query, *gallery):
        digest.update(f"{sample.path.rsplit('/', 1)[-1]} {sample.pid} {sample.camid}\n".encode())
    return digest.hexdigest()
