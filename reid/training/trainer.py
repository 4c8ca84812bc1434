"""Training, plain or defended: P x K batches of one set or two, an attacker or none, resume, logs, selection."""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from reid.errors import ReidError, UsageError
from reid.models.network import ReidModel
from reid.runtime import distributed
from reid.runtime.device import Compute
from reid.runtime.loop import run_epochs
from reid.runtime.progress import progress
from reid.runtime.runlog import RunLog
from reid.runtime.seeds import generator, seed_everything
from reid.runtime.snapshot import STATE_FILE, Run
from reid.training.adversaries import Attacker
from reid.training.batches import Batch, TrainingSet, with_perturbed_half
from reid.training.batchnorm import differentiate_twice
from reid.training.gradients import Inner, step_gradients
from reid.training.keeper import Keeper
from reid.training.network import TrainedNetwork, Weights, is_backbone
from reid.training.recipe import Recipe
from reid.training.synced import synchronise

logger = logging.getLogger(__name__)

Validate = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Look:
    """How far the meta-learned defence looks ahead: order of the derivative, and the inner rate (None: the outer)."""

    order: str = "second"
    lr: float | None = None


@dataclass(frozen=True)
class Selection:
    """How the best epoch is found: `validate()` gives scores every `every` epochs and after the last, and the epoch
    with the highest mean is kept, but none before `first` (0-based). Without `validate` it is the last epoch."""

    validate: Validate | None
    every: int = 1
    first: int = 0

    def due(self, epoch: int, epochs: int) -> bool:
        return epoch + 1 == epochs or (self.validate is not None and (epoch + 1) % self.every == 0)


class Trainer:
    """One training run. `look` makes it meta-learned; `virtual` None trains on the source alone, `attacker` None on
    clean images alone. With none of the three it is the undefended training that gives the attacks their victims.

    Several processes end, but for rounding, with the model of one: batch normalisation, dropout and losses are those of
    the whole batch. Raises UsageError when there is an attacker and the number of images on each is odd.
    """

    def __init__(
        self,
        model: ReidModel,
        source: TrainingSet,
        recipe: Recipe,
        compute: Compute,
        seed: int,
        *,
        virtual: TrainingSet | None = None,
        attacker: Attacker | None = None,
        look: Look | None = None,
    ) -> None:
        self.recipe, self.compute, self.seed, self.look = recipe, compute, seed, look
        self.sets = [source] if virtual is None else [source, virtual]
        self.attacker = attacker
        self.network = TrainedNetwork(model, virtual.num_classes if virtual else 0, seed)
        self.network.to(compute.device).to(memory_format=torch.channels_last)
        here = source.batch_size // distributed.size()
        if attacker is not None and here % 2 and distributed.size() > 1:
            raise UsageError(
                f"no half of the {here} images that each of {distributed.size()} processes has of a batch can be "
                "perturbed; take an even --num-instances"
            )
        synchronise(self.network, here)
        if look is not None and look.order == "second":
            differentiate_twice(self.network)
        self.optimizer = torch.optim.Adam(
            self.network.groups(recipe.lr, recipe.new_layers), weight_decay=recipe.weight_decay
        )

    def train(self, run: Run, selection: Selection, metadata: dict[str, Any]) -> Path:
        """Train, and return the path of the best model, in `run.logs_dir`; `metadata` goes into the file.

        Raises ReidError when a loss is no longer finite.
        """
        keeper = Keeper(run, metadata)

        def epoch(number: int, log: RunLog) -> dict[str, float]:
            values = self._epoch(number, run)
            if selection.due(number, self.recipe.epochs):
                scores = selection.validate() if selection.validate is not None else {}
                values |= scores
                if number >= min(selection.first, self.recipe.epochs - 1):
                    keeper.offer(self.network.model, number + 1, sum(scores.values()) / max(1, len(scores)))
            return values

        def restore(state: dict[str, Any]) -> None:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.attacker is not None:
                self.attacker.load_state_dict(state["attacker"])
            keeper.restore(state["best"])

        def state() -> dict[str, Any]:
            return {
                "best": keeper.best,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "attacker": self.attacker.state_dict() if self.attacker is not None else {},
            }

        run_epochs(run, self.recipe.epochs, restore=restore, epoch=epoch, state=state)
        if not keeper.path.exists():
            keeper.offer(self.network.model, self.recipe.epochs, keeper.best)
        return keeper.path

    def _epoch(self, epoch: int, run: Run) -> dict[str, float]:
        seed_everything(self.seed, epoch)
        self.network.train()
        iterations = self.recipe.iters_per_epoch
        totals: dict[str, float] = defaultdict(float)
        batches = zip(*(each.epoch(epoch, iterations, self.compute.device) for each in self.sets), strict=True)
        bar = progress(batches, iterations, f"epoch {epoch + 1}/{self.recipe.epochs}")
        for iteration, drawn in enumerate(bar):
            lr = self.recipe.lr_at(epoch * iterations + iteration)
            values = self._step([(images, labels) for _, images, labels in drawn], lr, epoch, iteration)
            for name, value in values.items():
                totals[name] += value
            if not math.isfinite(sum(values.values())):
                raise ReidError(self._not_finite(values, epoch, iteration, [indices for indices, _, _ in drawn], run))
            bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
        return {name: value / iterations for name, value in totals.items()} | {"lr": lr}

    def _step(self, drawn: Sequence[tuple[Tensor, Tensor]], lr: float, epoch: int, iteration: int) -> dict[str, float]:
        """One step of the weights, and of the attacker if it learns; none where a loss or the gradient is not finite.

        Returns the losses, the norm of the gradient, and the precision of the triplets.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        made, batches = [], []
        for place, (images, labels) in enumerate(drawn):
            random = generator(self.seed, epoch, iteration, 1 + place)
            batch, perturbed = with_perturbed_half(images, labels, self.attacker, random, virtual=place == 1)
            batches.append(batch)
            made.append(perturbed)
        precisions: list[Tensor] = []

        def loss_of(weights: Weights, batch: Batch) -> Tensor:
            with self.compute.autocast():
                features, logits = self.network.at(weights, batch.images, batch.virtual)
            loss, precision = self.recipe.loss_of(*map(distributed.gather, (features, logits.float(), batch.labels)))
            precisions.append(precision.detach())
            return loss

        weights = self.network.weights()
        step = step_gradients(
            loss_of, weights, batches[0], batches[1] if len(batches) > 1 else None, self._inner(weights, lr)
        )
        for name, weight in weights.items():
            weight.grad = step.gradients.get(name)
        numbers = step.losses | {"gradient": get_total_norm(step.gradients.values()), "precision": precisions[0]}
        values = dict(zip(numbers, torch.stack([*numbers.values()]).tolist(), strict=True))  # one wait for a GPU
        if all(map(math.isfinite, values.values())):
            self.optimizer.step()
            if self.attacker is not None and step.image_gradients:
                self.attacker.learn([images for images in made if images is not None], step.image_gradients)
        return values

    def _inner(self, weights: Weights, lr: float) -> Inner | None:
        if self.look is None:
            return None
        rate = self.look.lr if self.look.lr is not None else lr
        rates = {name: rate * (1.0 if is_backbone(name) else self.recipe.new_layers) for name in weights}
        return Inner(rates, self.recipe.weight_decay, self.look.order)

    def _not_finite(
        self, values: dict[str, float], epoch: int, iteration: int, drawn: list[Sequence[int]], run: Run
    ) -> str:
        wrong = ", ".join(f"{name} {value}" for name, value in values.items() if not math.isfinite(value))
        paths = [each.samples[i].path for each, indices in zip(self.sets, drawn, strict=True) for i in indices]
        state = run.logs_dir / STATE_FILE
        last = state if state.exists() else run.source
        good = f"the last good state is {last}" if last else "no epoch was finished before it"
        return (
            f"the loss is no longer finite ({wrong}) at epoch {epoch + 1}, step {iteration + 1}; the batch holds "
            f"{', '.join(paths)}; {good}; lower --lr (now {self.recipe.lr:g}) in a new --logs_dir, or use "
            "--precision fp32"
        )
