"""Attacks that know the model under evaluation: universal perturbations learnt on this very model."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from reid import attacks, datasets
from reid.attacks.threat import Threat
from reid.attacks.universal import RECIPES
from reid.attacks.universal.learn import CleanBatches, Learner, clean_batches
from reid.attacks.universal.perturbations import Perturbation
from reid.attacks.universal.recipes import Recipe
from reid.datasets import Sample, labels
from reid.datasets.contents import contents_sha256
from reid.errors import DatasetError, ReidError, UsageError
from reid.evaluation.detector import FIRST, shared
from reid.evaluation.effort import Effort
from reid.evaluation.kinds import RELEARNT, SEARCH
from reid.evaluation.results import read_results, short_hash
from reid.evaluation.retrieval import Retrieval
from reid.evaluation.rows import Row
from reid.evaluation.search import Best, told
from reid.evaluation.starts import WarmStart, begin_, warm_starts
from reid.loading import Images, ImageStore
from reid.models.victim import Passes, Victim
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.files import sha256
from reid.runtime.progress import progress, stage
from reid.runtime.seeds import generator

logger = logging.getLogger(__name__)

DRAWN = "synth-a"
LEARNER = 3  # to be raised when the same settings learn another perturbation


@dataclass(frozen=True)
class Source:
    """The images to learn on: a name for messages, and the samples."""

    name: str
    samples: Sequence[Sample]


def training_source(name: str, root: datasets.Root, split: int, whole: bool = True) -> Source:
    """The training images of a dataset, of the identities that validate too: an attacker takes what there is. Not
    `whole`: without those, who are judged by.

    Where it has none, those of drawn people. Raises UsageError where nobody was drawn.
    """
    if (found := _training(name, root, split, whole)).samples:
        return found
    with contextlib.suppress(DatasetError):
        if (drawn := _training(DRAWN, root, split, whole)).samples:
            logger.warning("%s has no training images: attacks learn on the drawn people of %s", found.name, DRAWN)
            return drawn
    problem = f"{found.name} has no training images to learn attacks on"
    remedy = f"draw people, python -m reid.synthperson {DRAWN}, which are then taken, or give another --learn-on"
    raise UsageError(f"{problem}; {remedy}")


def _training(name: str, root: datasets.Root, split: int, whole: bool) -> Source:
    dataset = datasets.create(name, root, split=split)
    return Source(dataset.name, dataset.trainval if whole else dataset.train)


@dataclass
class Relearning:
    """Learns universal perturbations on `victim` and keeps them as files in `folder`.

    Of each restart the best iterate is kept, by the mAP of identities of `source` that the steps do not see, under the
    perturbation on the side that is attacked. `virtual` is what recipes with a meta mode meta-test on. Raises what
    `warm_starts` does, and UsageError for a set that cannot fill a batch.
    """

    victim: Victim
    source: Source
    images: Images
    effort: Effort
    compute: Compute
    seed: int
    folder: Path
    virtual: Source | None = None

    def __post_init__(self) -> None:
        self._warm = warm_starts(self.effort.warm_start, self.victim.met, self.images.height, self.images.width)
        self._batches(self.seed)

    def rows(
        self, recipes: Sequence[str], threats: Sequence[tuple[int, Threat]], reuse: bool, warm: Sequence[WarmStart] = ()
    ) -> Iterator[Row]:
        """One row for each recipe (of RECIPES), (noise type, threat) and restart, once all restarts are learnt.

        `reuse` takes files that are in the folder; `warm` are more perturbations to start from.
        """
        starts: list[WarmStart | None] = [*[None] * self.effort.restarts, *self._warm, *warm]
        attackers = list(product(recipes, threats))
        for recipe, (noise_type, threat) in progress(attackers, len(attackers), ""):
            numbered = progress(enumerate(starts), len(starts), "restart")
            learnt = [self._learnt(recipe, noise_type, threat, *start, reuse) for start in numbered]
            kind = RELEARNT if RECIPES[recipe].needs_gradients else SEARCH
            lowest = min(min(noise.provenance["held_out"]) for noise, _ in learnt)
            for number, (noise, digest) in enumerate(learnt, 1):
                noise.provenance |= {"lowest_of_restarts": lowest}
                words = "" if recipe == "none" else f" by {recipe}"
                name = f"re-learnt type {noise_type}{words}, restart {number} of {len(starts)}"
                yield Row(name, kind, noise, digest, {"recipe": recipe})

    def _learnt(
        self, recipe: str, noise_type: int, threat: Threat, restart: int, warm: WarmStart | None, reuse: bool
    ) -> tuple[Perturbation, str]:
        """A perturbation and the hash of its file, which is learnt and written first unless it may be reused."""
        provenance = self._provenance(recipe, noise_type, threat, restart)
        provenance |= {"warm_start": warm.sha256} if warm else {}
        path = self.folder / f"relearnt-type{noise_type}-restart{restart + 1}-{short_hash(provenance)}.pth"
        if not (reuse and distributed.from_main(path.exists)):
            noise, outcome = self._learn(recipe, noise_type, threat, restart, warm)
            distributed.from_main(lambda: attacks.save(path, noise, provenance | outcome))
        return distributed.from_main(lambda: (attacks.load(path), sha256(path)))

    def _provenance(self, recipe: str, noise_type: int, threat: Threat, restart: int) -> dict[str, Any]:
        sets = {"learnt_from": self.source} | ({"virtual": self.virtual} if self.virtual else {})
        return {
            "victim_sha256": self.victim.sha256,
            "reading": self.victim.reading,
            "fingerprint": self.victim.fingerprint,
            "noise_type": noise_type,
            "threat": threat.to_dict(),
            "dataset": self.source.name,
            "recipe": recipe,
            "learner": LEARNER,
            "height": self.images.height,
            "width": self.images.width,
            "effort": asdict(replace(self.effort, restarts=1, warm_start=(), adaptive_iters=self._iterations)),
            "precision": self.compute.precision,
            "seed": self.seed,
            "restart": restart,
        } | {key: contents_sha256(each.samples, self.images.workers) for key, each in sets.items()}

    @property
    def images_seen(self) -> int:
        """How many images are learnt from in a restart, at most."""
        return self.effort.adaptive_epochs * self._iterations * self.effort.batch_size

    @property
    def _iterations(self) -> int:
        return self.effort.adaptive_iters or max(1, len(self.source.samples) // self.effort.batch_size)

    @cached_property
    def _divided(self) -> tuple[list[Sample], list[Sample]]:
        return divided(self.source.samples, self.effort.batch_size // self.effort.num_instances, self.seed)

    @cached_property
    def _store(self) -> ImageStore:
        """The images to learn on, then those to select by, decoded once for all restarts."""
        learn, select = self._divided
        return self.images.store(learn if learn == select else [*learn, *select])

    @cached_property
    def _virtual_store(self) -> ImageStore | None:
        return self.images.store(self.virtual.samples) if self.virtual else None

    @cached_property
    def _held_out(self) -> Retrieval:
        """The identities that the steps do not see ask for themselves among all images."""
        asking = self.images.store(askers(self._divided[1]))
        return Retrieval(self.victim, (asking, self._store), self.compute, self.effort.batch_size)

    def _batches(self, seed: int) -> tuple[CleanBatches, CleanBatches | None]:
        """Those of the source and of the virtual set."""
        effort = self.effort
        shape = (effort.batch_size, effort.num_instances)
        duration = (effort.adaptive_epochs, self._iterations)
        known = (self.victim, self.compute, *shape)
        source = clean_batches(self.source.name, self._store, *known, seed, *duration, first=len(self._divided[0]))
        if self.virtual is None or self._virtual_store is None:
            return source, None
        return source, clean_batches(self.virtual.name, self._virtual_store, *known, seed + 500, *duration)

    def _learn(
        self, recipe: str, noise_type: int, threat: Threat, restart: int, warm: WarmStart | None
    ) -> tuple[Perturbation, dict[str, Any]]:
        """The best iterate from a start, and how it was found."""
        noise = attacks.create(
            noise_type, threat.eps_color, threat.eps_delta, self.images.height, self.images.width, threat.side
        ).to(self.compute.device)
        begin_(noise, restart, generator(self.seed, restart), warm)
        before = self.victim.passes
        learner = Learner(noise, *self._batches(1000 * self.seed + restart), RECIPES[recipe])
        best = Best()
        epochs = self.effort.adaptive_epochs
        with stage(1 / (1 + epochs)):
            with stage(0.3):
                best.offer(self._score(noise, learner.recipe), noise.state_dict())
            if warm is None:
                learner.wide_step()
        for epoch in progress(range(epochs), epochs, "epoch"):
            learner.epoch(epoch)
            if not best.offer(self._score(noise, learner.recipe), noise.state_dict()):
                noise.load_state_dict(best.state)
                learner.slow_down()
            if best.is_final:
                break
        noise.load_state_dict(best.state)
        words = "re-learnt type %d, restart %d: %s of identities held out %s"
        logger.info(words, noise_type, restart + 1, learner.recipe.chosen_by, told(best.scores))
        passes = sum(distributed.every(self.victim.passes - before), Passes())
        found = {"held_out": best.scores, "chosen_by": learner.recipe.chosen_by, "kept_epoch": best.epoch}
        return noise, found | {"passes": asdict(passes)}

    def _score(self, noise: Perturbation, recipe: Recipe) -> float:
        """What iterates are chosen by: mAP, and where the recipe minds that, what share of their lists two queries have
        in common."""
        retrieval = self._held_out
        score = retrieval.score(noise, noise.threat.side)
        if not recipe.price_of_shared:
            return score.ranking.mAP
        lists = retrieval.rank_list(retrieval.query, *score.features, FIRST).places
        return score.ranking.mAP + recipe.price_of_shared * shared(lists[None]).item() / FIRST


def askers(samples: Sequence[Sample]) -> list[Sample]:
    """Samples that ask for themselves. Where nobody is seen by two cameras, they do so from a camera of their own, and
    may find themselves."""
    if len({(sample.pid, sample.camid) for sample in samples}) > len(labels(samples)):
        return list(samples)
    return [replace(sample, camid=-1) for sample in samples]


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
