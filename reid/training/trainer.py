"""Training, plain or defended: P x K batches of one set or two, an adversary or none, resume, logs, selection."""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from reid.attacks.base import Reference
from reid.attacks.universal import RECIPES
from reid.attacks.universal.ranking import RankingRecipe
from reid.attacks.universal.recipes import Recipe
from reid.errors import ReidError, UsageError
from reid.models.network import Trainable
from reid.models.returned import Returned
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.loop import run_epochs
from reid.runtime.progress import progress, stage
from reid.runtime.runlog import RunLog
from reid.runtime.seeds import generator, seed_everything
from reid.runtime.snapshot import STATE_FILE, Run
from reid.training.adversaries.aim import Aim, inference
from reid.training.adversaries.base import Adversary
from reid.training.average import Average
from reid.training.batches import Drawn, TrainingBatch, TrainingSet, with_perturbed
from reid.training.centroids import Centroids
from reid.training.defense import Defense
from reid.training.inner import Inner
from reid.training.keeper import Keeper
from reid.training.layers import differentiate_twice, synchronise
from reid.training.losses import ReidLoss
from reid.training.network import TrainedNetwork, Weights, is_backbone
from reid.training.schedule import Schedule
from reid.training.step import step_gradients
from reid.training.view import View


@dataclass(frozen=True)
class Selection:
    """How the best epoch is chosen: `validate()` gives scores every `every` epochs and after the last, and the epoch
    with the highest mean is kept, but none before `first` (0-based). Without `validate` it is the last epoch."""

    validate: Callable[[], dict[str, float]] | None
    every: int = 1
    first: int = 0

    def due(self, epoch: int, epochs: int) -> bool:
        return epoch + 1 == epochs or (self.validate is not None and (epoch + 1) % self.every == 0)


class Trainer:
    """One training run of `model`, in place, by a defence, on the source and, where it uses one, a virtual set.

    With several processes it ends, up to rounding, with the model of one: batch normalisation, dropout and losses are
    those of the whole batch. Raises UsageError where the virtual set, the adversary or the identities that the defence
    or its attacks need are missing, and where there is an adversary and each process has an odd number of images.
    """

    def __init__(
        self,
        model: Trainable,
        defense: Defense,
        sets: Sequence[TrainingSet],
        schedule: Schedule,
        loss: ReidLoss,
        compute: Compute,
        seed: int,
        adversary: Adversary | None = None,
    ) -> None:
        share = sets[0].batch_size // distributed.size()
        self.sets = sets[: 1 + (defense.needs_virtual or defense.takes_virtual)]
        self.adversary = adversary if defense.needs_adversary else None
        self.recipe = _recipe(defense, self.adversary)
        _check_needs(defense, self.sets, adversary, schedule, share)
        self.defense, self.schedule, self.loss, self.compute, self.seed = defense, schedule, loss, compute, seed
        self.start: Trainable | None = None
        self.known: Centroids | None = None
        if defense.needs_start or defense.needs_centroids:
            self.start = copy.deepcopy(model).eval().requires_grad_(False)
            self.start.to(compute.device).to(memory_format=torch.channels_last)
            self.known = Centroids(self.start, self.sets, compute) if defense.needs_centroids else None
        self.network = TrainedNetwork(model, self.sets[1].num_classes if len(self.sets) > 1 else 0, seed)
        self.network.to(compute.device).to(memory_format=torch.channels_last)
        if schedule.move == "late":
            self.network.hold_early()
        synchronise(self.network, share)
        self.average = Average(model, schedule.ema, schedule.start_share)
        if defense.inner_order == "second":
            differentiate_twice(self.network)
        self.optimizer = torch.optim.Adam(
            self.network.groups(schedule.lr, schedule.new_layers), weight_decay=schedule.weight_decay
        )

    def train(self, run: Run, selection: Selection, returned: Returned | None = None) -> Path:
        """Train, and return the path of the best model, in `run.logs_dir`, as `returned` writes it: by default as a
        checkpoint of ours. Raises ReidError when a loss is no longer finite."""
        name, images = self.sets[0].name, self.sets[0].images
        about = {"trained_on": name, "height": images.height, "width": images.width, "settings": run.settings}
        keeper = Keeper(run, about, returned)
        parts: dict[str, Any] = {"network": self.network, "optimizer": self.optimizer}
        parts |= {"adversary": self.adversary or Adversary(), "average": self.average}

        def epoch(number: int, log: RunLog) -> dict[str, float]:
            due = selection.due(number, self.schedule.epochs)
            with stage(0.8 if due and selection.validate else 1.0):  # more or less
                values = self._epoch(number, run)
            if due:
                with self.average.in_place():
                    scores = selection.validate() if selection.validate is not None else {}
                    values |= scores
                    last, every = self.schedule.epochs - 1, self.schedule.every
                    if number >= min(selection.first, last) and every(number) == every(last):
                        keeper.offer(self.network.model, number + 1, sum(scores.values()) / max(1, len(scores)))
            return values

        def restore(state: dict[str, Any]) -> None:
            for name, part in parts.items():
                part.load_state_dict(state[name])
            keeper.restore(state["best"])

        def state() -> dict[str, Any]:
            return {"best": keeper.best} | {name: part.state_dict() for name, part in parts.items()}

        run_epochs(run, self.schedule.epochs, restore=restore, epoch=epoch, state=state)
        if not keeper.path.exists():
            with self.average.in_place():
                keeper.offer(self.network.model, self.schedule.epochs, keeper.best)
        return keeper.path

    def _epoch(self, epoch: int, run: Run) -> dict[str, float]:
        seed_everything(self.seed, epoch)
        self.network.train()
        iterations = self.schedule.iters_per_epoch
        totals: dict[str, float] = defaultdict(float)
        batches = zip(*(each.epoch(epoch, iterations, self.compute.device) for each in self.sets), strict=True)
        bar = progress(batches, iterations, "step")
        for iteration, drawn in enumerate(bar):
            lr = self.schedule.lr_at(epoch * iterations + iteration)
            values = self._step(drawn, lr, epoch, iteration)
            for name, value in values.items():
                totals[name] += value
            if not math.isfinite(sum(values.values())):
                raise ReidError(self._not_finite(values, epoch, iteration, drawn, run))
            bar.note = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        return {name: value / iterations for name, value in totals.items()} | {"lr": lr}

    def _step(self, drawn: Sequence[Drawn], lr: float, epoch: int, iteration: int) -> dict[str, float]:
        """One step of the weights, and of the adversary if it learns; none where a loss or the gradient is not finite.

        Returns the losses, the norm of the gradient, and the precision of the triplets if the defence has some.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        made = [self._perturbed(place, each, epoch, iteration) for place, each in enumerate(drawn)]
        source, virtual = made[0][0], made[1][0] if len(made) > 1 else None
        precisions: list[Tensor | None] = []

        def loss_of(weights: Weights, batch: TrainingBatch) -> Tensor:
            view = View(self.network, weights, self.compute, self.loss, self.start, self.known)
            loss, precision = self.defense.loss(view, batch)
            precisions.append(precision)
            return loss

        weights = self.network.weights()
        step = step_gradients(loss_of, weights, source, virtual, self._inner(weights, lr))
        for name, weight in weights.items():
            weight.grad = step.gradients.get(name)
        numbers = step.losses | {"gradient": get_total_norm(step.gradients.values())}
        if precisions[0] is not None:
            numbers["precision"] = precisions[0].detach()
        values = dict(zip(numbers, torch.stack([*numbers.values()]).tolist(), strict=True))  # one wait for a GPU
        if all(map(math.isfinite, values.values())):
            self.optimizer.step()
            self.average.update()
            if self.adversary is not None and step.image_gradients:
                self.adversary.learn([images for _, images in made if images is not None], step.image_gradients)
        return values

    def _perturbed(self, place: int, drawn: Drawn, epoch: int, iteration: int) -> tuple[TrainingBatch, Tensor | None]:
        """What `with_perturbed` makes of a batch of the set in this place."""
        random, virtual = generator(self.seed, epoch, iteration, 1 + place), place == 1
        every = self.schedule.every(epoch)
        return with_perturbed(drawn, self.adversary, random, virtual, self._aim(virtual, drawn, every), every)

    @torch.no_grad()
    def _aim(self, virtual: bool, drawn: Drawn, every: int) -> Aim | None:
        """Where one image in `every` of a batch is to be driven: among the centroids that the defence goes by, or among
        the clean images of the whole batch, as the model sees them in eval mode."""
        if self.adversary is None or self.recipe is None:
            return None
        model, pids = self.network.model, self.sets[virtual].labels[torch.as_tensor(drawn.indices)]
        with inference(model):
            if self.known:
                gallery = self.known.of(virtual)
                if isinstance(self.recipe, RankingRecipe):  # reads no clean features: the own centroids stand in
                    clean = gallery.features[drawn.labels[::every]]
                else:
                    clean = model.features(drawn.images[::every]).float()
            else:
                batch = model.features(drawn.images).float()
                clean, gallery = batch[::every], Reference(distributed.gather(batch), pids, pids)
        return Aim(model, self.recipe.objective_on(gallery), clean, distributed.share(pids)[::every])

    def _inner(self, weights: Weights, lr: float) -> Inner | None:
        """The step before the virtual loss of a defence that looks ahead, where the outer rate is `lr`."""
        if self.defense.inner_order is None:
            return None
        rate = lr if self.defense.inner_lr is None else self.defense.inner_lr
        rates = {name: rate * (1.0 if is_backbone(name) else self.schedule.new_layers) for name in weights}
        return Inner(rates, self.schedule.weight_decay, self.defense.inner_order)

    def _not_finite(
        self, values: dict[str, float], epoch: int, iteration: int, drawn: Sequence[Drawn], run: Run
    ) -> str:
        wrong = ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))
        paths = [each.samples[i].path for each, batch in zip(self.sets, drawn, strict=True) for i in batch.indices]
        state = run.logs_dir / STATE_FILE
        last = state if state.exists() else run.source
        good = f"the last good state is {last}" if last else "no epoch was finished before it"
        return (
            f"the loss is no longer finite ({wrong}) at epoch {epoch + 1}, step {iteration + 1}; the batch holds "
            f"{', '.join(paths)}; {good}; lower --lr (now {self.schedule.lr:g}) in a new --logs_dir, or use "
            "--precision fp32"
        )


def _recipe(defense: Defense, adversary: Adversary | None) -> Recipe | None:
    """The one with the objective of the attacks in training, None for the training loss. Raises UsageError where it
    needs identities and the defence knows none."""
    objective = (adversary and adversary.objective) or defense.attack_objective
    recipe = None if objective == "loss" else RECIPES[objective]
    if isinstance(recipe, RankingRecipe) and not defense.needs_labels:
        remedy = "use --attack-objective loss or cosine"
        raise UsageError(f"{type(defense).__name__} knows no identities, and {objective} needs them; {remedy}")
    return recipe


def _check_needs(
    defense: Defense, sets: Sequence[TrainingSet], adversary: Adversary | None, schedule: Schedule, share: int
) -> None:
    """Raises UsageError where a defence lacks what it needs, or no half of a process's `share` can be perturbed."""
    name = type(defense).__name__
    if defense.needs_virtual and len(sets) < 2:
        raise UsageError(f"{name} trains on a virtual set too; give one")
    if defense.inner_order is not None and len(sets) < 2:
        raise UsageError(f"{name} looks ahead from the source to a virtual set; give one, or no look-ahead")
    if defense.needs_adversary and adversary is None:
        raise UsageError(f"{name} trains on perturbed images; give an adversary")
    if schedule.only_perturbed and (defense.needs_clean or not defense.needs_adversary):
        lacks = "needs clean images in every batch" if defense.needs_adversary else "perturbs nothing"
        raise UsageError(f"{name} {lacks}; leave --only-perturbed out")
    if defense.needs_adversary and share % 2 and distributed.size() > 1:
        raise UsageError(
            f"no half of the {share} images that each of {distributed.size()} processes has of a batch can be "
            "perturbed; take an even --num-instances"
        )
