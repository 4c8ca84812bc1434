"""Learning a universal perturbation: batches from the source and the virtual set, one meta step each, resume, logs."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reid.attacks import files
from reid.attacks.base import Reference
from reid.attacks.universal.perturbations import Perturbation
from reid.attacks.universal.recipes import Objective, Recipe
from reid.attacks.universal.step import KnownImages, meta_step
from reid.datasets import Sample
from reid.errors import ReidError, UsageError
from reid.loading import Images, ImageStore, PKSampler, to_images
from reid.models.victim import Victim
from reid.runtime import distributed
from reid.runtime.device import Compute, send
from reid.runtime.loop import run_epochs
from reid.runtime.progress import progress
from reid.runtime.runlog import RunLog
from reid.runtime.snapshot import Run


@dataclass(frozen=True)
class Duration:
    """How long to learn: `epochs` x `iters_per_epoch` steps."""

    epochs: int
    iters_per_epoch: int


class CleanBatches:
    """P x K batches of one set for a whole run, with the clean features of every image that the run will draw.

    Clean features do not depend on the perturbation, so each drawn image passes the victim once, before the first
    step and in a fixed order: a resumed run computes the same numbers. Under torchrun each process computes its part of
    them and knows all, but holds only its own images of each batch.
    """

    def __init__(
        self, name: str, store: ImageStore, sampler: PKSampler, victim: Victim, duration: Duration, compute: Compute
    ) -> None:
        self._store, self._compute = store, compute
        self._pids, self._camids = (
            torch.tensor([getattr(sample, key) for sample in store.samples]) for key in ("pid", "camid")
        )
        self._epochs = [sampler.epoch(epoch, duration.iters_per_epoch) for epoch in range(duration.epochs)]
        self._drawn = sorted({index for epoch in self._epochs for batch in epoch for index in batch})
        self._row = {index: row for row, index in enumerate(self._drawn)}
        self._name, self._victim, self._batch_size = name, victim, sampler.batch_size

    @cached_property
    def _features(self) -> Tensor:
        parts = [self._drawn[i : i + self._batch_size] for i in range(0, len(self._drawn), self._batch_size)]
        own = distributed.share(parts)
        bar = progress(self._store.batches(own), len(own), f"clean features of {self._name}")
        with torch.no_grad():
            return distributed.gather_blocks([self._clean(pixels) for _, pixels in bar], self._compute.device)

    @property
    def reference(self) -> Reference:
        """Clean features, pids and camids of all images that the run draws."""
        drawn = torch.tensor(self._drawn)
        return Reference(self._features, self._pids[drawn], self._camids[drawn])

    def epoch(self, epoch: int) -> Iterator[KnownImages]:
        """The batches of an epoch, this process's images in [0, 1] on the device."""
        plan = self._epochs[epoch]
        own = self._store.batches([distributed.share(indices) for indices in plan])
        for indices, (_, pixels) in zip(plan, own, strict=True):
            rows = send(torch.tensor([self._row[index] for index in indices]), self._compute.device)
            pids = self._pids[torch.as_tensor(indices)]
            yield KnownImages(to_images(pixels, self._compute.device), pids, self._features[rows])

    def _clean(self, pixels: Tensor) -> Tensor:
        with self._compute.autocast():
            return self._victim(to_images(pixels, self._compute.device)).float()


def set_batches(
    sets: Sequence[tuple[str, Sequence[Sample]]],
    images: Images,
    victim: Victim,
    compute: Compute,
    batch_size: int,
    num_instances: int,
    seed: int,
    epochs: int,
    iters_per_epoch: int | None,
) -> tuple[Duration, list[CleanBatches]]:
    """The batches of each (name, samples); an epoch has all identities of the first set once, unless
    `iters_per_epoch` says otherwise. Raises UsageError for a set that cannot fill a batch."""
    samplers = [
        PKSampler([sample.pid for sample in samples], batch_size, num_instances, 2 * seed + place, name)
        for place, (name, samples) in enumerate(sets)
    ]
    duration = Duration(epochs, iters_per_epoch or samplers[0].batches_per_deck)
    return duration, [
        CleanBatches(name, images.store(samples), sampler, victim, duration, compute)
        for (name, samples), sampler in zip(sets, samplers, strict=True)
    ]


class Learner:
    """A perturbation that is learnt in place against a victim by a recipe; `optimizer` is what moves it.

    `virtual` is None where there is no set to meta-test on. Raises UsageError when the recipe needs one, or the victim
    gives no gradients.
    """

    def __init__(
        self,
        noise: Perturbation,
        victim: Victim,
        source: CleanBatches,
        virtual: CleanBatches | None,
        recipe: Recipe,
        duration: Duration,
        compute: Compute,
        print_freq: int = 10,
    ) -> None:
        if recipe.needs_virtual and virtual is None:
            raise UsageError(f"a recipe with meta mode {recipe.meta} needs a virtual dataset to meta-test on; give one")
        if not victim.differentiable:
            raise UsageError("this model gives no gradients, and a universal perturbation is learnt with them")
        self.noise, self.victim, self.source, self.virtual = noise, victim, source, virtual
        self.recipe, self.duration, self.compute, self.print_freq = recipe, duration, compute, print_freq
        self.optimizer = recipe.optimizer(noise.step_groups(recipe.fraction))
        self._lrs = [group["lr"] for group in self.optimizer.param_groups]

    @cached_property
    def _objectives(self) -> dict[str, Objective]:
        sets = {"objective": self.source, "virtual_objective": self.virtual}
        return {key: self.recipe.objective_on(each.reference) for key, each in sets.items() if each is not None}

    def epoch(self, epoch: int) -> dict[str, float]:
        """Learn for an epoch (0-based); returns the mean losses. Raises ReidError when one is no longer finite."""
        for group, lr in zip(self.optimizer.param_groups, self._lrs, strict=True):
            group["lr"] = lr * self.recipe.scale_at(epoch)
        virtual_batches = itertools.repeat(None) if self.virtual is None else self.virtual.epoch(epoch)
        totals: dict[str, float] = defaultdict(float)
        words = f"epoch {epoch + 1}/{self.duration.epochs}"
        bar = progress(self.source.epoch(epoch), self.duration.iters_per_epoch, words)
        for iteration, (real, other) in enumerate(zip(bar, virtual_batches, strict=False)):
            step = meta_step(
                self.noise,
                self.victim,
                real,
                other,
                self.optimizer,
                self.recipe.meta,
                self.compute.autocast,
                **self._objectives,
            )
            losses = dict(zip(step, torch.stack([*step.values()]).tolist(), strict=True))  # one wait for a GPU
            for name, value in losses.items():
                if not math.isfinite(value):
                    raise ReidError(
                        f"{name} became {value} at epoch {epoch + 1}, iteration {iteration + 1}: the victim's features "
                        "are not finite; check the checkpoint, or use --precision fp32"
                    )
                totals[name] += value
            if iteration % self.print_freq == 0:
                bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()})
        return {name: value / self.duration.iters_per_epoch for name, value in totals.items()}

    @torch.no_grad()
    def loss_on(self, batches: CleanBatches) -> float:
        """The mean of the recipe's objective over the first epoch of other batches, where nothing is learnt."""
        objective = self.recipe.objective_on(batches.reference)
        losses = []
        for batch in batches.epoch(0):
            with self.compute.autocast():
                features = self.victim(self.noise(batch.images))
            losses.append(objective(batch.clean_features, distributed.gather(features.float()), batch.pids))
        return torch.stack(losses).mean().item()


def learn(learner: Learner, folder: Path, run: Run, provenance: dict[str, Any]) -> Path:
    """Learn for all epochs; writes `folder/best_perturbation{epoch}.pth` after each of them.

    `provenance` goes into the files. Returns the path of the last one. Raises ReidError when a loss is not finite.
    """
    noise, epochs = learner.noise, learner.duration.epochs

    def epoch(number: int, log: RunLog) -> dict[str, float]:
        values = learner.epoch(number)
        if distributed.is_main():
            files.save(folder / file_name(number), noise, {**provenance, "epochs_done": number + 1})
            _show(log, noise, next(learner.source.epoch(number)).images[:8], number)
        return values

    def restore(state: dict[str, Any]) -> None:
        noise.load_state_dict(state["noise"])
        learner.optimizer.load_state_dict(state["optimizer"])

    def state() -> dict[str, Any]:
        return {"noise": noise.state_dict(), "optimizer": learner.optimizer.state_dict()}

    run_epochs(run, epochs, restore=restore, epoch=epoch, state=state)
    last = folder / file_name(epochs - 1)
    if distributed.is_main() and not last.exists():
        files.save(last, noise, provenance)
    return last


def file_name(epoch: int) -> str:
    """Name of the attacker file of an epoch (0-based), as the released code has it."""
    return f"best_perturbation{epoch}.pth"


def _show(log: RunLog, noise: Perturbation, images: Tensor, epoch: int) -> None:
    with torch.no_grad():
        perturbed = noise(images)
    log.images("perturbed", perturbed, epoch)
    log.images("difference x 8", 0.5 + 8 * (perturbed - images), epoch)
