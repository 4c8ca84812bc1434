"""Learning a universal perturbation: batches from the source and the virtual set, one meta step each, resume, logs."""

import itertools
import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reid.attacks import files
from reid.attacks.meta import Batch, Objective, meta_step
from reid.attacks.objectives import pull_farthest
from reid.attacks.optimiser import MISGD
from reid.attacks.perturbations import Perturbation
from reid.errors import ReidError
from reid.loading import ImageStore, PKSampler, to_images
from reid.models import Victim
from reid.runtime import distributed
from reid.runtime.device import Compute, send
from reid.runtime.loop import run_epochs
from reid.runtime.progress import progress
from reid.runtime.runlog import RunLog
from reid.runtime.snapshot import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How to learn: `mode` is maml, alternating or none; step sizes are budget / 10, times exp(-decay) per epoch."""

    mode: str
    epochs: int
    iters_per_epoch: int
    momentum: float = 1.0
    decay: float = 0.01
    objective: Objective = pull_farthest

    def scale_at(self, epoch: int) -> float:
        """Factor on the step size in an epoch (0-based)."""
        return math.exp(-self.decay * epoch)


class CleanBatches:
    """P x K batches of one set for a whole run, with the clean features of every image that the run will draw.

    Clean features do not depend on the perturbation, so each drawn image passes the victim once, before the first
    step and in a fixed order: a resumed run computes the same numbers. Of several processes each computes its share of
    them and knows all, but holds only its own images of each batch.
    """

    def __init__(
        self, name: str, store: ImageStore, sampler: PKSampler, victim: Victim, plan: Plan, compute: Compute
    ) -> None:
        self._store, self._compute = store, compute
        self._pids = torch.tensor([sample.pid for sample in store.samples])
        self._epochs = [sampler.epoch(epoch, plan.iters_per_epoch) for epoch in range(plan.epochs)]
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

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, this process's images in [0, 1] on the device."""
        plan = self._epochs[epoch]
        own = self._store.batches([distributed.share(indices) for indices in plan])
        for indices, (_, pixels) in zip(plan, own, strict=True):
            rows = send(torch.tensor([self._row[index] for index in indices]), self._compute.device)
            pids = self._pids[torch.as_tensor(indices)]
            yield Batch(to_images(pixels, self._compute.device), pids, self._features[rows])

    def _clean(self, pixels: Tensor) -> Tensor:
        with self._compute.autocast():
            return self._victim(to_images(pixels, self._compute.device)).float()


class Learner:
    """A perturbation that is learnt in place against a victim: batches, and the optimiser between them.

    `virtual` may be None for mode "none" alone.
    """

    def __init__(
        self,
        noise: Perturbation,
        victim: Victim,
        source: CleanBatches,
        virtual: CleanBatches | None,
        plan: Plan,
        compute: Compute,
        print_freq: int = 10,
    ) -> None:
        self.noise, self.victim, self.source, self.virtual = noise, victim, source, virtual
        self.plan, self.compute, self.print_freq = plan, compute, print_freq
        self.optimizer = MISGD(noise.step_groups(), lr=0.0, momentum=plan.momentum)
        self._lrs = [group["lr"] for group in self.optimizer.param_groups]

    def epoch(self, epoch: int) -> dict[str, float]:
        """Learn for an epoch (0-based); returns the mean losses. Raises ReidError when one is no longer finite."""
        plan = self.plan
        for group, lr in zip(self.optimizer.param_groups, self._lrs, strict=True):
            group["lr"] = lr * plan.scale_at(epoch)
        virtual_batches = itertools.repeat(None) if self.virtual is None else self.virtual.epoch(epoch)
        totals: dict[str, float] = defaultdict(float)
        words = f"epoch {epoch + 1}/{plan.epochs}"
        bar = progress(self.source.epoch(epoch), plan.iters_per_epoch, words)
        for iteration, (real, other) in enumerate(zip(bar, virtual_batches, strict=False)):
            step = meta_step(
                self.noise, self.victim, real, other, self.optimizer, plan.mode, self.compute.autocast, plan.objective
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
        return {name: value / plan.iters_per_epoch for name, value in totals.items()}


def learn(learner: Learner, folder: Path, run: Run, provenance: dict[str, Any]) -> Path:
    """Learn for all epochs of the plan; writes `folder/best_perturbation{epoch}.pth` after each of them.

    `provenance` goes into the files. Returns the path of the last one. Raises ReidError when a loss is not finite.
    """
    noise, epochs = learner.noise, learner.plan.epochs

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
