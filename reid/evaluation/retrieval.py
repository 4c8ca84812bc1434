"""The retrieval by one victim on one query and gallery: clean features once, then under any number of attacks."""

import copy
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from reid.attacks.base import Attack, Reference
from reid.attacks.threat import SIDES
from reid.datasets import Dataset, Sample
from reid.errors import DatasetError, UsageError
from reid.evaluation.distances import BY_NAME, squared_euclidean
from reid.evaluation.features import Extracted, batches_here, extract, ids_of, largest
from reid.evaluation.ranking import Ranking, RankList, block_rows, rank, rank_list
from reid.loading import ImageStore
from reid.models.adopted import victim_of
from reid.models.victim import Passes, Victim
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.progress import progress

logger = logging.getLogger(__name__)
WORKSPACE = 2**30  # bytes: what ranking on a GPU takes beyond features and distances, with room to spare


@dataclass(frozen=True)
class Score:
    """A ranking, the features of queries and gallery, as `Retrieval.features` gives them, that were ranked, and what
    the attack spent on their images (empty, and none, without an attack). `kept` are attacked images of each side."""

    ranking: Ranking
    features: tuple[Tensor, Tensor]
    spent: dict[str, float]
    passes: Passes
    kept: tuple[Mapping[int, Tensor], Mapping[int, Tensor]]


Places = Collection[int]


class Retrieval:
    """Scores of a victim on fixed stores, query and gallery.

    Clean features are computed once, when first needed; those of `training` images serve attacks that know a training
    set. `rank_options` go to `rank`. Under torchrun each process computes its part of all features and ranks its part
    of the gallery; all get the same scores.
    """

    def __init__(
        self,
        victim: Victim,
        sides: tuple[ImageStore, ImageStore],
        compute: Compute,
        batch_size: int = 64,
        training: ImageStore | None = None,
        **rank_options: Any,
    ) -> None:
        self.victim = victim
        self.query, self.gallery = sides
        self.training = training
        self.compute, self.batch_size, self.rank_options = compute, batch_size, rank_options
        batches = -(-len(self.gallery) // batch_size)
        self._clean: dict[ImageStore, Tensor] = {}
        self._pairwise = rank_options.get("distances", squared_euclidean) in BY_NAME.values()
        self._sharded = 1 < distributed.size() <= batches and self._pairwise  # re-ranking needs all images

    @property
    def clean(self) -> tuple[Tensor, Tensor]:
        """Clean features of the queries, and of the gallery or this process's part of it."""
        return self.features(self.query).features, self.features(self.gallery).features

    def features(
        self, store: ImageStore, attack: Attack | None = None, side: str = "query", keep: Places = ()
    ) -> Extracted:
        """Those of the queries, of the gallery or this process's part of it, or of other queries: under `attack` where
        `side` is theirs, with the attacked images at the places to `keep`, else the clean ones, which are stored."""
        if attack is not None and self._is_attacked(store, side):
            return self._extract(store, attack, keep)
        if store not in self._clean:
            self._clean[store] = self._extract(store).features
        return Extracted(self._clean[store], {}, Passes())

    def _is_attacked(self, store: ImageStore, side: str) -> bool:
        return side in ("gallery" if store is self.gallery else "query", "both")

    @cached_property
    def _references(self) -> dict[str, Reference]:
        """What an attack on the images of each side may know: the whole other side, on the device of the network."""
        query, gallery = self.clean
        if self._sharded:
            gallery = distributed.gather_blocks([gallery], gallery.device)
        return {
            side: Reference(features.to(self.compute.device), *ids_of(other.samples))
            for side, other, features in (("query", self.gallery, gallery), ("gallery", self.query, query))
        }

    @cached_property
    def _trained_on(self) -> Reference:
        """What an attack may know of the training images."""
        assert self.training is not None
        features = self.features(self.training).features
        return Reference(features.to(self.compute.device), *ids_of(self.training.samples))

    def known_to(self, attack: Attack, side: str) -> dict[str, Reference]:
        """What an attack may know of other images where it attacks those of a side, by field of AttackBatch."""
        known = {"reference": self._references[side]} if "reference" in attack.needs else {}
        if "training" in attack.needs and self.training is not None:
            known["training"] = self._trained_on
        return known

    def score(self, attack: Attack | None = None, side: str = "query", keep: tuple[Places, Places] = ((), ())) -> Score:
        """Rank the gallery for every query, with `attack` on the images of `side`; it goes to the network's device.
        The attacked images of queries and gallery at the places to `keep` are in the score."""
        if side not in SIDES:
            raise UsageError(f"side {side!r} is not one of {', '.join(SIDES)}")
        sides = self.query, self.gallery
        new = [len(store) if store not in self._clean or self._is_attacked(store, side) else 0 for store in sides]
        stores = zip(progress(sides, 2, "", sizes=new), keep, strict=True)
        query, gallery = (self.features(store, attack, side, places) for store, places in stores)
        features, spent = (query.features, gallery.features), largest(query.spent, gallery.spent)
        passes = query.passes + gallery.passes
        return Score(self.rank(*features), features, spent, passes, (query.kept, gallery.kept))

    def among(self, queries: Sequence[int]) -> "Retrieval":
        """The same for the queries at these positions, with the clean features of the gallery that are known."""
        part = copy.copy(self)
        part.query = self.query.among(queries)
        part.__dict__.pop("_references", None)
        return part

    def by(self, victim: Victim) -> "Retrieval":
        """The same by another model."""
        other = copy.copy(self)
        other.victim, other._clean = victim, {}
        for cached in ("_references", "_trained_on"):
            other.__dict__.pop(cached, None)
        return other

    def rank(self, query: Tensor, gallery: Tensor) -> Ranking:
        """Rank features of the two sides, such as `clean` gives, under the pids and camids of the samples."""
        return rank(*self._compared(self.query, query, gallery), sharded=self._sharded, **self.rank_options)

    def rank_list(self, store: ImageStore, query: Tensor, gallery: Tensor, count: int) -> RankList:
        """The first `count` images of the gallery for the queries, or others, of a store, by features as in `rank`."""
        distances = self.rank_options.get("distances", squared_euclidean)
        compared = self._compared(store, query, gallery)
        return rank_list(*compared, count=count, distances=distances, sharded=self._sharded)

    def _compared(self, store: ImageStore, query: Tensor, gallery: Tensor) -> tuple[Tensor, ...]:
        """Features where they are to be ranked, then pids and camids, in the order in which `rank` takes them."""
        samples = self.gallery.samples
        if self._sharded:
            here = batches_here(len(samples), self.batch_size)
            samples = samples[here[0].start : here[-1].stop]
        device = self._ranks_on(query, gallery)
        asking, answering = ids_of(store.samples), ids_of(samples)
        return query.to(device), gallery.to(device), asking[0], answering[0], asking[1], answering[1]

    def _ranks_on(self, query: Tensor, gallery: Tensor) -> torch.device:
        """The network's device where ranking takes half of its memory at most, else the CPU; alike on all processes."""
        device = self.compute.device
        fits = self._pairwise and device.type != "mps"  # re-ranking is written for the CPU; MPS has no float64
        if device.type == "cuda":
            block = 4 * block_rows(len(query), len(gallery), device) * len(gallery)
            needed = 2 * (query.nbytes + gallery.nbytes + block) + WORKSPACE
            fits &= 2 * needed <= torch.cuda.get_device_properties(device).total_memory
        return device if all(distributed.every(fits)) else torch.device("cpu")

    def _extract(self, store: ImageStore, attack: Attack | None = None, keep: Places = ()) -> Extracted:
        side = "gallery" if store is self.gallery else "query"
        known = {} if attack is None else self.known_to(attack, side)
        if isinstance(attack, nn.Module):
            attack.to(self.compute.device)
        whole = side == "query" or not self._sharded
        return extract(self.victim, store, self.compute, self.batch_size, attack, whole, keep, side, **known)


def validation(
    model: nn.Module,
    sides: tuple[ImageStore, ImageStore],
    compute: Compute,
    attacks: Callable[[], Sequence[Attack]] = tuple,
    **options: Any,
) -> Callable[[], dict[str, float]]:
    """A function that scores the model as it then is, in eval mode, on the stores of `validation_samples`: `val_mAP`,
    and where `attacks()` names attacks `val_attacked`, the mAP under the worst."""

    def scores() -> dict[str, float]:
        retrieval = Retrieval(victim_of(model), sides, compute, **options)
        values = {"val_mAP": retrieval.score().ranking.mAP}
        if attacked := [retrieval.score(attack).ranking.mAP for attack in attacks()]:
            values["val_attacked"] = min(attacked)
        return values

    return scores


def log_scores(words: str, retrieval: Retrieval, attacks: Mapping[str, Attack]) -> None:
    """Log mAP and rank-1, clean and under each attack; `words` begin each line."""
    named = {"clean": None} | dict(attacks)
    for name, attack in progress(named.items(), len(named), "", names=[*named]):
        ranking = retrieval.score(attack).ranking
        rank1 = ranking.cmc["market1501"][0]
        logger.info("%s %-8s  mAP %.3f  rank-1 %.3f", words, name, ranking.mAP, rank1)


def test_samples(dataset: Dataset) -> tuple[list[Sample], list[Sample]]:
    """Query and gallery of a dataset. Raises DatasetError for a train-only set, and where no query can be scored."""
    if dataset.query or dataset.unknown:
        for side, words in ((dataset.query, "queries"), (dataset.gallery, "gallery images")):
            if not side:
                problem = f"the {words} of {dataset.name} have no identity to score (all are of pid -1)"
                raise DatasetError(f"{problem}; begin their names with it, as in 0002_c1_anything.jpg")
    if not dataset.query or not dataset.gallery:
        raise DatasetError(f"{dataset.name} has no query and gallery to evaluate on; it serves for training only")
    return dataset.query, dataset.gallery


def validation_samples(dataset: Dataset) -> tuple[list[Sample], list[Sample]]:
    """Query and gallery made of the validation identities: the first image of each (pid, camid) asks, all answer.

    An image does not find itself: the protocol leaves out same person, same camera. Raises DatasetError when no
    validation identity is seen by two cameras.
    """
    query = first_of_each_camera(dataset.val)
    if not found_again(query, dataset.val):
        raise DatasetError(
            f"{dataset.name}: no validation identity is seen by two cameras, so nothing can be chosen by mAP; train "
            "with --combine-trainval, on all identities up to the last epoch, and evaluate with --identities test"
        )
    return query, dataset.val


def first_of_each_camera(samples: Sequence[Sample]) -> list[Sample]:
    """The first image of each (pid, camid)."""
    first: dict[tuple[int, int], Sample] = {}
    for sample in samples:
        first.setdefault((sample.pid, sample.camid), sample)
    return list(first.values())


def found_again(query: Sequence[Sample], gallery: Sequence[Sample]) -> set[int]:
    """The pids of the queries whose person is under another camera."""
    cameras = defaultdict(set)
    for sample in gallery:
        cameras[sample.pid].add(sample.camid)
    return {sample.pid for sample in query if sample.pid >= 0 and cameras[sample.pid] - {sample.camid}}


def of_validation(dataset: Dataset) -> Dataset:
    """A dataset whose validation identities are query and gallery, with all others to train on. Raises DatasetError
    like `validation_samples`."""
    view = copy.copy(dataset)
    view.query, view.gallery = validation_samples(dataset)
    view.trainval, view.unknown = dataset.train, []
    return view
