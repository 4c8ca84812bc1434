"""Undefended training: P x K batches, hard triplet + cross-entropy, warm-up and cosine decay."""

import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from reid.datasets import labels as label_map
from reid.errors import ReidError
from reid.files import write_atomically
from reid.loading import ImageStore, PKSampler, augment, to_images
from reid.models import save_checkpoint
from reid.training.device import Compute
from reid.training.losses import triplet_and_identity
from reid.training.runlog import RunLog
from reid.training.seeds import generator, seed_everything
from reid.training.snapshot import Run

logger = logging.getLogger(__name__)

BEST_FILE = "model_best.pth"


@dataclass(frozen=True)
class Recipe:
    """How long and how hard to train. `warmup` is the share of all steps with a linearly rising learning rate."""

    epochs: int
    iters_per_epoch: int
    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    margin: float = 0.3
    smoothing: float = 0.1
    warmup: float = 0.1

    def lr_at(self, step: int) -> float:
        """Learning rate of a step (0-based): linear warm-up, then half a cosine down to a hundredth."""
        total = self.epochs * self.iters_per_epoch
        rising = max(1, round(self.warmup * total))
        if step < rising:
            return self.lr * (step + 1) / rising
        progress = (step - rising) / max(1, total - rising)
        return self.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def train(
    model: nn.Module,
    store: ImageStore,
    sampler: PKSampler,
    recipe: Recipe,
    compute: Compute,
    seed: int,
    run: Run,
    *,
    validate: Callable[[nn.Module], float] | None,
    eval_every: int,
    metadata: dict[str, Any],
) -> Path:
    """Train `model` on the images of `store` and return the path of the best checkpoint, in `run.logs_dir`.

    `validate(model)` gives the mAP on validation identities, every `eval_every` epochs and after the last; the epoch
    with the highest is kept, the latest of equals. Without it the last epoch is. `metadata` goes into the file.
    Raises ReidError when the loss is no longer finite.
    """
    model.to(compute.device)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    label_of = label_map(store.samples)
    labels = torch.tensor([label_of[sample.pid] for sample in store.samples])
    best_file = run.logs_dir / BEST_FILE
    start, best = 0, -1.0
    state = run.load()
    if state is not None:
        start, best = state["epoch"], state["best"] if _bring(run, best_file) else -1.0
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        logger.info("resumed after epoch %d of %d", start, recipe.epochs)
    with RunLog(run.logs_dir, start) as log:
        for epoch in range(start, recipe.epochs):
            began = time.perf_counter()
            values = _train_epoch(model, store, sampler, labels, optimizer, recipe, compute, seed, epoch)
            last = epoch + 1 == recipe.epochs
            if validate is not None and (last or (epoch + 1) % eval_every == 0):
                values["val_mAP"] = validate(model)
            score = values.get("val_mAP")
            if (last and validate is None) or (score is not None and score >= best):
                best = score or 0.0
                save_checkpoint(best_file, model, epoch=epoch + 1, val_mAP=score, **metadata)
            log.epoch(epoch, **values, seconds=time.perf_counter() - began)
            run.save(epoch + 1, best=best, model=model.state_dict(), optimizer=optimizer.state_dict())
    if not best_file.exists():
        save_checkpoint(best_file, model, epoch=recipe.epochs, val_mAP=None, **metadata)
    return best_file


def _bring(run: Run, best_file: Path) -> bool:
    """Whether the best model so far is in the run's folder, copied from the folder of the state if need be."""
    there = run.source.with_name(BEST_FILE) if run.source else best_file
    if there != best_file and there.exists():
        write_atomically(best_file, lambda path: shutil.copy(there, path))
    if not best_file.exists():
        logger.warning("%s, the best model before the kill, is gone; the best of the epochs to come is kept", there)
    return best_file.exists()


def _train_epoch(
    model: nn.Module,
    store: ImageStore,
    sampler: PKSampler,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    compute: Compute,
    seed: int,
    epoch: int,
) -> dict[str, float]:
    seed_everything(seed, epoch)
    model.train()
    totals = torch.zeros(2, dtype=torch.float64)
    plan = sampler.epoch(epoch, recipe.iters_per_epoch)
    bar = tqdm(
        store.batches(plan), total=len(plan), desc=f"epoch {epoch + 1}/{recipe.epochs}", leave=False, disable=None
    )
    for iteration, (indices, pixels) in enumerate(bar):
        lr = recipe.lr_at(epoch * recipe.iters_per_epoch + iteration)
        for group in optimizer.param_groups:
            group["lr"] = lr
        images = augment.usual(to_images(pixels, compute.device), generator(seed, epoch, iteration))
        targets = labels[torch.as_tensor(indices)].to(compute.device)
        with compute.autocast():
            features, logits = model(images.contiguous(memory_format=torch.channels_last))
        loss, precision = triplet_and_identity(features, logits, targets, recipe.margin, recipe.smoothing)
        if not torch.isfinite(loss):
            raise ReidError(
                f"the loss became {loss.item()} at epoch {epoch + 1}, iteration {iteration + 1}; lower --lr "
                f"(now {recipe.lr:g}), or use --precision fp32, and go on from the last epoch with --resume-from auto"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        totals += torch.stack([loss.detach(), precision]).double().cpu()
        bar.set_postfix(loss=f"{loss.item():.3f}", precision=f"{precision.item():.2f}")
    loss_mean, precision_mean = (totals / len(plan)).tolist()
    return {"loss": loss_mean, "precision": precision_mean, "lr": lr}
