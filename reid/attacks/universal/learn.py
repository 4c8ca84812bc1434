"""Learning a universal perturbation: batches from the source and the virtual set, one meta step each, resume, logs."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reid.attacks import files
from reid.attacks.base import Reference
from reid.attacks.universal.optimiser import MISGD
from reid.attacks.universal.perturbations import Perturbation
from reid.attacks.universal.recipes import Objective, Recipe
from reid.attacks.universal.step import KnownImages, meta_step
from reid.errors import ReidError, UsageError
from reid.loading import ImageStore, PKSampler, to_images
from reid.models.victim import Victim
from reid.runtime import distributed
from reid.runtime.device import Compute, send
from reid.runtime.loop import run_epochs
from reid.runtime.progress import progress
from reid.runtime.runlog import RunLog
from reid.runtime.snapshot import Run


class CleanBatches:
    """Batches of one set for a whole run, with the clean features of every image that the run will draw.

    `plan` holds the indices of each batch of each epoch, (epochs, steps per epoch, batch size). Clean features do not
    depend on the perturbation: each drawn image passes the victim once, before the first step and in a fixed order, so
    that a resumed run computes the same numbers. Under torchrun each process computes its part of them and knows all,
    but holds only its own images of each batch.
    """

    def __init__(
        self, name: str, store: ImageStore, victim: Victim, compute: Compute, plan: Sequence[Sequence[Sequence[int]]]
    ) -> None:
        self.victim, self.compute = victim, compute
        self._name, self._store, self._plan = name, store, plan
        drawn, self._rows = torch.unique(torch.tensor(plan), return_inverse=True)
        self.epochs, self.steps, batch_size = self._rows.shape
        self._parts = [part.tolist() for part in drawn.split(batch_size)]
        samples = [store.samples[index] for index in drawn.tolist()]
        self._pids = torch.tensor([sample.pid for sample in samples])
        self._camids = torch.tensor([sample.camid for sample in samples])

    @cached_property
    def reference(self) -> Reference:
        """Clean features, pids and camids of all images that the run draws."""
        own = distributed.share(self._parts)
        bar = progress(self._store.batches(own), len(own), f"clean features of {self._name}")
        with torch.no_grad():
            blocks = [self.features(to_images(pixels, self.compute.device)) for _, pixels in bar]
        return Reference(distributed.gather_blocks(blocks, self.compute.device), self._pids, self._camids)

    def features(self, images: Tensor) -> Tensor:
        """The victim's features (N, D) of images on the device, in float32."""
        with self.compute.autocast():
            return self.victim(images).float()

    def epoch(self, epoch: int) -> Iterator[KnownImages]:
        """The batches of an epoch, this process's images in [0, 1] on the device."""
        own = self._store.batches([distributed.share(indices) for indices in self._plan[epoch]])
        for rows, (_, pixels) in zip(self._rows[epoch], own, strict=True):
            clean = self.reference.features[send(rows, self.compute.device)]
            yield KnownImages(to_images(pixels, self.compute.device), self._pids[rows], clean)


def clean_batches(
    name: str,
    store: ImageStore,
    victim: Victim,
    compute: Compute,
    batch_size: int,
    num_instances: int,
    seed: int,
    epochs: int,
    steps: int | None,
    first: int | None = None,
) -> CleanBatches:
    """P x K batches of the images of a store, or of the `first` of them; without `steps`, an epoch has all identities
    once. Raises UsageError for a set that cannot fill a batch."""
    sampler = PKSampler([sample.pid for sample in store.samples[:first]], batch_size, num_instances, seed, name)
    plan = [sampler.epoch(epoch, steps or sampler.batches_per_deck) for epoch in range(epochs)]
    return CleanBatches(name, store, victim, compute, plan)


class Learner:
    """A perturbation that is learnt in place by a recipe, against the victim of `source`; `optimizer` is what moves it.

    `virtual` is None where there is no set to meta-test on. Raises UsageError when the recipe needs gradients and the
    victim gives none.
    """

    def __init__(
        self,
        noise: Perturbation,
        source: CleanBatches,
        virtual: CleanBatches | None,
        recipe: Recipe,
        print_freq: int = 10,
    ) -> None:
        if recipe.needs_gradients and not source.victim.differentiable:
            problem = "this model gives no gradients, and the recipe learns with them"
            raise UsageError(f"{problem}; take --recipe query_uap, which does without")
        self.noise, self.source, self.virtual, self.recipe, self.print_freq = noise, source, virtual, recipe, print_freq
        self.optimizer = recipe.optimizer(noise.step_groups(recipe.fraction))
        self._lrs = [group["lr"] for group in self.optimizer.param_groups]

    @cached_property
    def _objectives(self) -> tuple[Objective, Objective]:
        source = self.recipe.objective_on(self.source.reference, self.noise.threat.side)
        if self.virtual is None:
            return source, source
        return source, self.recipe.objective_on(self.virtual.reference, self.noise.threat.side)

    def epoch(self, epoch: int) -> dict[str, float]:
        """Learn for an epoch (0-based); returns the mean losses. Raises ReidError when one is no longer finite."""
        for group, lr in zip(self.optimizer.param_groups, self._lrs, strict=True):
            group["lr"] = lr * self.recipe.scale_at(epoch)
        return self._steps(epoch)

    def _steps(self, epoch: int) -> dict[str, float]:
        virtual_batches = itertools.repeat(None) if self.virtual is None else self.virtual.epoch(epoch)
        source, recipe, autocast = self.source, self.recipe, self.source.compute.autocast
        seen = recipe.seen(source.victim, epoch)
        totals: dict[str, float] = defaultdict(float)
        bar = progress(source.epoch(epoch), source.steps, "step")
        for number, (real, other) in enumerate(zip(bar, virtual_batches, strict=False)):
            known = (self.noise, seen, real, other, self.optimizer)
            step = meta_step(*known, recipe.meta, autocast, *self._objectives, recipe.penalty)
            losses = dict(zip(step, torch.stack([*step.values()]).tolist(), strict=True))  # one wait for a GPU
            for name, value in losses.items():
                if not math.isfinite(value):
                    raise ReidError(
                        f"{name} became {value} at epoch {epoch + 1}, iteration {number + 1}: the victim's features "
                        "are not finite; check the checkpoint, or use --precision fp32"
                    )
                totals[name] += value
            if number % self.print_freq == 0:
                bar.note = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        return {name: value / source.steps for name, value in totals.items()}

    def wide_step(self) -> None:
        """One step on the sum over all batches of the first epoch: at a start, a few people would choose by chance the
        direction in which all others are learnt."""
        optimizer, self.optimizer = self.optimizer, MISGD(self.noise.parameters(), lr=0.0, momentum=1.0)
        self._steps(0)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.data.sub_(group["lr"] * self.optimizer.state[parameter]["accumulator"].sign())
        self.noise.project_()
        self.optimizer = optimizer

    def slow_down(self) -> None:
        """From now on steps of half the length, without the momentum so far."""
        self._lrs = [lr / 2 for lr in self._lrs]
        self.optimizer.state.clear()


def learn(learner: Learner, folder: Path, run: Run, provenance: dict[str, Any]) -> Path:
    """Learn for all epochs; writes `folder/best_perturbation{epoch}.pth`, as the released code has it, after each.

    `provenance` goes into the files. Returns the path of the last one. Raises ReidError when a loss is not finite.
    """
    noise, epochs = learner.noise, learner.source.epochs
    paths = [folder / f"best_perturbation{number}.pth" for number in range(epochs)]

    def write(number: int) -> None:
        files.save(paths[number], noise, provenance | {"epochs_done": number + 1})

    def epoch(number: int, log: RunLog) -> dict[str, float]:
        values = learner.epoch(number)
        distributed.from_main(partial(write, number))
        if distributed.is_main():
            images = next(learner.source.epoch(number)).images[:8]
            with torch.no_grad():
                perturbed = noise(images)
            log.images("perturbed", perturbed, number)
            log.images("difference x 8", 0.5 + 8 * (perturbed - images), number)
        return values

    def restore(state: dict[str, Any]) -> None:
        noise.load_state_dict(state["noise"])
        learner.optimizer.load_state_dict(state["optimizer"])

    def state() -> dict[str, Any]:
        return {"noise": noise.state_dict(), "optimizer": learner.optimizer.state_dict()}

    def is_kept() -> bool:
        return paths[-1].exists() and run.settings.items() <= files.load(paths[-1]).provenance.items()

    run_epochs(run, epochs, restore=restore, epoch=epoch, state=state)
    if not distributed.from_main(is_kept):  # the state of a finished run came from elsewhere
        distributed.from_main(partial(write, epochs - 1))
    return paths[-1]
