"""Attacks that know the model under evaluation: universal perturbations learnt on this very model."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reid import attacks, datasets
from reid.attacks.threat import Threat
from reid.attacks.universal import RECIPES
from reid.attacks.universal.learn import CleanBatches, Learner, clean_batches
from reid.attacks.universal.perturbations import Perturbation
from reid.datasets import Sample, labels
from reid.datasets.contents import contents_sha256
from reid.errors import ReidError, UsageError
from reid.evaluation.effort import Effort
from reid.evaluation.results import read_results, short_hash
from reid.evaluation.rows import RELEARNT, Row
from reid.loading import Images, ImageStore
from reid.models.victim import Victim
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.files import sha256
from reid.runtime.seeds import generator

logger = logging.getLogger(__name__)

PATIENCE = 2  # epochs without a new lowest loss after which a restart ends
IMPROVEMENT = 0.01  # of the lowest loss: less does not count as a new one
NEAR = 0.1  # of the lowest loss: a search that ends farther above it has diverged
SELECTION_BATCHES = 4


@dataclass(frozen=True)
class Source:
    """The images to learn on: a name for messages, and the samples."""

    name: str
    samples: Sequence[Sample]


def training_source(name: str, root: datasets.Root, split: int) -> Source:
    """The training images of a dataset. Raises UsageError where it has none."""
    dataset = datasets.create(name, root, split=split)
    if not dataset.train:
        raise UsageError(f"{dataset.name} has no training images to learn attacks on; give another --learn-on")
    return Source(dataset.name, dataset.train)


@dataclass
class Relearning:
    """Learns universal perturbations on `victim` and keeps them as files in `folder`.

    Of each restart the best iterate is kept, by the objective on identities of `source` that the steps do not see.
    `virtual` is what recipes with a meta mode meta-test on.
    """

    victim: Victim
    source: Source
    images: Images
    effort: Effort
    compute: Compute
    seed: int
    folder: Path
    virtual: Source | None = None

    def rows(self, recipes: Sequence[str], threats: Sequence[tuple[int, Threat]], reuse: bool) -> Iterator[Row]:
        """One row for each recipe (of RECIPES), (noise type, threat) and restart, as they are learnt.

        `reuse` takes files that are in the folder.
        """
        for recipe, threat, restart in product(recipes, threats, range(self.effort.restarts)):
            yield self._row(recipe, *threat, restart, reuse)

    def _row(self, recipe: str, noise_type: int, threat: Threat, restart: int, reuse: bool) -> Row:
        provenance = self._provenance(recipe, noise_type, threat, restart)
        path = self.folder / f"relearnt-type{noise_type}-restart{restart + 1}-{short_hash(provenance)}.pth"
        if not (reuse and distributed.from_main(path.exists)):
            noise, outcome = self._learn(recipe, noise_type, threat, restart)
            distributed.from_main(lambda: attacks.save(path, noise, provenance | outcome))
        noise, digest = distributed.from_main(lambda: (attacks.load(path), sha256(path)))
        words = "" if recipe == "none" else f" by {recipe}"
        name = f"re-learnt type {noise_type}{words}, restart {restart + 1} of {self.effort.restarts}"
        return Row(name, RELEARNT, noise, digest, {"recipe": recipe})

    def _provenance(self, recipe: str, noise_type: int, threat: Threat, restart: int) -> dict[str, Any]:
        sets = {"learnt_from": self.source} | ({"virtual": self.virtual} if self.virtual else {})
        return {
            "victim_sha256": self.victim.sha256,
            "noise_type": noise_type,
            "threat": threat.to_dict(),
            "dataset": self.source.name,
            "recipe": recipe,
            "height": self.images.height,
            "width": self.images.width,
            "effort": asdict(replace(self.effort, restarts=1, adaptive_iters=self._iterations)),
            "precision": self.compute.precision,
            "seed": self.seed,
            "restart": restart,
        } | {key: contents_sha256(each.samples, self.images.workers) for key, each in sets.items()}

    @property
    def _iterations(self) -> int:
        return self.effort.adaptive_iters or max(1, len(self.source.samples) // self.effort.batch_size)

    @cached_property
    def _parts(self) -> tuple[ImageStore, ImageStore]:
        """The images to learn on and those to select by, decoded once for all restarts."""
        learn, select = divided(self.source.samples, self.effort.batch_size // self.effort.num_instances, self.seed)
        return self.images.store(learn), self.images.store(select)

    @cached_property
    def _virtual_store(self) -> ImageStore | None:
        return self.images.store(self.virtual.samples) if self.virtual else None

    @cached_property
    def _selection(self) -> CleanBatches:
        """Fixed batches of the identities that the steps do not see, of the same size where there are enough."""
        _, store = self._parts
        identities = min(self.effort.batch_size // self.effort.num_instances, len(labels(store.samples)))
        size = identities // distributed.size() * distributed.size() * self.effort.num_instances
        return self._batches(store, self.source, size, self.seed, 1, SELECTION_BATCHES)

    def _batches(
        self, store: ImageStore, source: Source, size: int, seed: int, epochs: int, steps: int
    ) -> CleanBatches:
        drawn = (size, self.effort.num_instances, seed, epochs, steps)
        return clean_batches(source.name, store, self.victim, self.compute, *drawn)

    def _learn(self, recipe: str, noise_type: int, threat: Threat, restart: int) -> tuple[Perturbation, dict[str, Any]]:
        """The best iterate from the identity (restart 0) or from a random point of the budget, and how it was found."""
        noise = attacks.create(
            noise_type, threat.eps_color, threat.eps_delta, self.images.height, self.images.width, threat.side
        ).to(self.compute.device)
        if restart:
            noise.randomise_(generator(self.seed, restart))
        seed = 1000 * self.seed + restart
        size, duration = self.effort.batch_size, (self.effort.adaptive_epochs, self._iterations)
        source = self._batches(self._parts[0], self.source, size, seed, *duration)
        virtual = None
        if self.virtual and self._virtual_store:
            virtual = self._batches(self._virtual_store, self.virtual, size, seed + 500, *duration)
        learner = Learner(noise, source, virtual, RECIPES[recipe])
        best = Best()
        while len(best.losses) < self.effort.adaptive_epochs and not best.is_final:
            learner.epoch(len(best.losses))
            best.offer(learner.loss_on(self._selection), noise.state_dict())
        noise.load_state_dict(best.state)
        more = "" if best.has_converged else "; not converged: it may get stronger with more --adaptive-epochs"
        values = (noise_type, restart + 1, best.loss, best.epoch, len(best.losses), more)
        logger.info("re-learnt type %d, restart %d: lowest loss %.2f after %d of %d epochs%s", *values)
        return noise, {"converged": best.has_converged, "losses": best.losses, "kept_epoch": best.epoch}


@dataclass
class Best:
    """The iterate with the lowest loss so far, and whether the search has come to an end."""

    losses: list[float] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)
    _mark: float = 0.0
    _since: int = 0

    def offer(self, loss: float, state: dict[str, Tensor]) -> None:
        """Take the state after another epoch if its loss is the lowest."""
        if not self.losses or loss < self.loss:
            self.state = {name: value.clone() for name, value in state.items()}
        if not self.losses or loss < self._mark - IMPROVEMENT * abs(self._mark):
            self._mark, self._since = loss, 0
        else:
            self._since += 1
        self.losses.append(loss)

    @property
    def loss(self) -> float:
        """The lowest loss."""
        return min(self.losses)

    @property
    def epoch(self) -> int:
        """After which epoch (from 1) it was reached first."""
        return 1 + self.losses.index(self.loss)

    @property
    def is_final(self) -> bool:
        """Whether the last PATIENCE epochs have not improved the lowest loss by a hundredth."""
        return self._since >= PATIENCE

    @property
    def has_converged(self) -> bool:
        """Whether the search came to its end near the lowest loss; one that moved away from it has diverged."""
        return self.is_final and max(self.losses[-PATIENCE:]) <= self.loss + NEAR * abs(self.loss)


def divided(samples: Sequence[Sample], identities: int, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Samples to learn on, and those of other identities to select by: a tenth, and at least two and one per process.

    Where fewer than `identities` and two would be left to learn on, all samples serve both.
    """
    pids = torch.tensor(sorted({sample.pid for sample in samples}))
    count = max(2, distributed.size(), round(0.1 * len(pids)))
    if len(pids) - count < max(2, identities):
        logger.warning("%d identities are too few to hold some out: the best iterate is chosen on all", len(pids))
        return list(samples), list(samples)
    held_out = set(pids[torch.randperm(len(pids), generator=generator(seed, len(pids)))[:count]].tolist())
    learn = [sample for sample in samples if sample.pid not in held_out]
    return learn, [sample for sample in samples if sample.pid in held_out]


def worst_relearnt(folder: Path, victim_sha256: str) -> Path:
    """The file in `folder` of the re-learnt perturbation that cost the model of this hash the most mAP, by the results.

    Raises ReidError when there is none.
    """
    files = {sha256(path): path for path in folder.glob("attackers/*.pth")}
    ranked = [
        (result.metrics["mAP"], files[result.attack["sha256"]])
        for result in read_results(folder)
        if result.attack["kind"] == RELEARNT
        and result.victim["sha256"] == victim_sha256
        and result.attack["sha256"] in files
    ]
    if not ranked:
        raise ReidError(f"{folder} holds no re-learnt attack on this model; run evaluate.py --adaptive on it")
    return min(ranked, key=itemgetter(0))[1]
