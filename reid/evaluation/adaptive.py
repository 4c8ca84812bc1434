"""Attacks that know the model under evaluation: universal perturbations learnt on it anew, and PGD on each image."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from reid import attacks
from reid.attacks import Perturbation, Threat
from reid.attacks.learn import CleanBatches, Learner, Plan
from reid.datasets import Sample
from reid.errors import ReidError
from reid.evaluation.protocol import ImageOptions, fingerprint
from reid.evaluation.results import read_results, short_hash
from reid.evaluation.suite import Attacker
from reid.loading import ImageStore, PKSampler
from reid.models import Victim
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.files import sha256
from reid.runtime.seeds import generator

logger = logging.getLogger(__name__)

RELEARNT, PGD = "re-learnt", "PGD"  # how the names of these attackers begin
PATIENCE, IMPROVEMENT = 2, 0.01


@dataclass(frozen=True)
class Effort:
    """How hard to look for a perturbation: `restarts` times, each for at most `epochs` x `iters_per_epoch` steps with
    P x K batches. A restart ends earlier once its loss has converged."""

    restarts: int
    epochs: int
    iters_per_epoch: int
    batch_size: int
    num_instances: int


@dataclass(frozen=True)
class Relearning:
    """Learns universal perturbations on `victim` from `samples` of a dataset, and keeps them as files in `folder`."""

    victim: Victim
    victim_sha256: str
    dataset: str
    samples: Sequence[Sample]
    images: ImageOptions
    effort: Effort
    compute: Compute
    seed: int
    folder: Path

    def attackers(self, noise_type: int, threat: Threat, reuse: bool) -> Iterator[Attacker]:
        """One attacker of this noise type and threat for each restart; `reuse` takes files that are there already."""
        for restart in range(self.effort.restarts):
            provenance = {
                "victim_sha256": self.victim_sha256,
                "noise_type": noise_type,
                "threat": threat.to_dict(),
                "dataset": self.dataset,
                "learnt_from": fingerprint(self.samples, []),
                "height": self.images.height,
                "width": self.images.width,
                "effort": vars(replace(self.effort, restarts=1)),
                "precision": self.compute.precision,
                "seed": self.seed,
                "restart": restart,
            }
            path = self.folder / f"relearnt-type{noise_type}-restart{restart + 1}-{short_hash(provenance)}.pth"
            if not (reuse and distributed.from_main(path.exists)):
                noise, outcome = self._learn(noise_type, threat, restart)
                distributed.from_main(partial(attacks.save, path, noise, provenance | outcome))
            name = f"{RELEARNT} type {noise_type}, restart {restart + 1} of {self.effort.restarts}"
            noise, digest = distributed.from_main(partial(_read, path))
            yield Attacker(name, noise.to(self.compute.device), digest)

    @cached_property
    def _store(self) -> ImageStore:
        """The images, decoded once for all restarts."""
        return ImageStore(self.samples, self.images.height, self.images.width, self.images.workers, self.images.cache)

    def _learn(self, noise_type: int, threat: Threat, restart: int) -> tuple[Perturbation, dict]:
        """A perturbation learnt from the identity (restart 0) or from a random point of the budget."""
        height, width, effort = self.images.height, self.images.width, self.effort
        noise = attacks.create(noise_type, threat.eps_color, threat.eps_delta, height, width, threat.side)
        noise.to(self.compute.device)
        if restart:
            noise.randomise_(generator(self.seed, restart))
        plan = Plan("none", effort.epochs, effort.iters_per_epoch)
        pids = [sample.pid for sample in self.samples]
        sampler = PKSampler(pids, effort.batch_size, effort.num_instances, 1000 * self.seed + restart, self.dataset)
        batches = CleanBatches("the images to learn on", self._store, sampler, self.victim, plan, self.compute)
        learner = Learner(noise, self.victim, batches, None, plan, self.compute)
        losses: list[float] = []
        while len(losses) < effort.epochs and not has_converged(losses):
            losses.append(learner.epoch(len(losses))["loss_tr"])
        converged = has_converged(losses)
        logger.info(
            "re-learnt type %d, restart %d: loss %.2f after %d epochs%s",
            noise_type,
            restart + 1,
            losses[-1],
            len(losses),
            "" if converged else ", not converged: it may get stronger with more --adaptive-epochs",
        )
        return noise, {"converged": converged, "losses": losses}


def _read(path: Path) -> tuple[Perturbation, str]:
    return attacks.load(path), sha256(path)


def worst_relearnt(folder: Path, victim_sha256: str) -> Path:
    """The file of the re-learnt attacker that cost the model of this hash the most mAP, by the results in `folder`.

    Raises ReidError when there is none.
    """
    found = [
        result
        for result in read_results(folder)
        if result.attacker["name"].startswith(RELEARNT) and result.victim["sha256"] == victim_sha256
    ]
    files = {sha256(path): path for path in folder.glob("attackers/*.pth")}
    ranked = sorted((r for r in found if r.attacker["sha256"] in files), key=lambda result: result.metrics["mAP"])
    if not ranked:
        raise ReidError(f"{folder} holds no re-learnt attack on this model; run evaluate.py --adaptive on it")
    return files[ranked[0].attacker["sha256"]]


def has_converged(losses: Sequence[float]) -> bool:
    """Whether the last two of the losses per epoch are no more than a hundredth below the best before them."""
    if len(losses) <= PATIENCE:
        return False
    return min(losses[-PATIENCE:]) >= (1 - IMPROVEMENT) * min(losses[:-PATIENCE])
