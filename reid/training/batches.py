"""Batches of a defence: P x K augmented images of a set, and a perturbed half made from them in pixel space."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from reid.datasets import Dataset, Sample
from reid.datasets import labels as label_map
from reid.loading import ImageStore, PKSampler, augment
from reid.runtime import distributed
from reid.runtime.device import send
from reid.runtime.seeds import generator
from reid.training.adversaries import Attacker


@dataclass(frozen=True)
class Batch:
    """Clean images (N, 3, H, W), perturbed ones (M, 3, H, W) or None, in [0, 1], and labels (N + M,): those of the
    clean images, then those of the perturbed. `virtual` says which head knows the labels. Of several processes each has
    its share of the clean images, and those made from them."""

    clean: Tensor
    perturbed: Tensor | None
    labels: Tensor
    virtual: bool = False

    @property
    def images(self) -> Tensor:
        """All images (N + M, 3, H, W)."""
        images = self.clean if self.perturbed is None else torch.cat([self.clean, self.perturbed])
        return images.contiguous(memory_format=torch.channels_last)


def with_perturbed_half(
    clean: Tensor, labels: Tensor, attacker: Attacker | None, random: torch.Generator, virtual: bool
) -> tuple[Batch, Tensor | None]:
    """The batch of clean images (N, 3, H, W) with labels (N,), every second image once more under attack.

    Every second one of a P x K batch is half of each identity. Returns the batch, in which the perturbed images are a
    leaf of their own, and those images as the attacker made them, with the graph that leads back to it.
    """
    if attacker is None:
        return Batch(clean, None, labels, virtual), None
    made = attacker.perturb(clean[::2], random)
    leaf = made.detach().requires_grad_(made.requires_grad)
    return Batch(clean, leaf, torch.cat([labels, labels[::2]]), virtual), made


class SetOptions(Protocol):
    """Images, batches and identities to train on; parsed options of a training script have all of them."""

    height: int
    width: int
    workers: int
    cache: str
    batch_size: int
    num_instances: int
    combine_trainval: bool


class TrainingSet:
    """One set as training sees it: P x K batches, augmented, with labels 0 .. num_classes - 1.

    The batches of an epoch depend on (seed, epoch) alone; of several processes each has its share of every batch.
    Raises UsageError, naming the set, when it cannot fill one.
    """

    def __init__(
        self,
        name: str,
        samples: Sequence[Sample],
        *,
        height: int,
        width: int,
        workers: int,
        batch_size: int,
        num_instances: int,
        seed: int,
        cache: str = "ram",
    ) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self._sampler = PKSampler([sample.pid for sample in samples], batch_size, num_instances, seed, name)
        self._store = ImageStore(samples, height, width, workers, cache)
        label_of = label_map(samples)
        self._labels = torch.tensor([label_of[sample.pid] for sample in samples])
        self.num_classes = len(label_of)

    @classmethod
    def of(cls, dataset: Dataset, options: SetOptions, seed: int) -> Self:
        """The training images of a dataset, or with `options.combine_trainval` those of the validation too."""
        return cls(
            dataset.name,
            dataset.trainval if options.combine_trainval else dataset.train,
            height=options.height,
            width=options.width,
            workers=options.workers,
            batch_size=options.batch_size,
            num_instances=options.num_instances,
            seed=seed,
            cache=options.cache,
        )

    def epoch(self, epoch: int, batches: int, device: torch.device) -> Iterator[tuple[Sequence[int], Tensor, Tensor]]:
        """(indices of the whole batch, images in [0, 1], labels) of each batch of an epoch, on `device`."""
        plan = self._sampler.epoch(epoch, batches)
        own = self._store.batches([distributed.share(indices) for indices in plan])
        for iteration, (indices, pixels) in enumerate(own):
            random = generator(self.seed, epoch, iteration)
            drawn = augment.draw(len(plan[iteration]), pixels.shape[2:], random)
            images = augment.usual(pixels, distributed.share(drawn), device)
            yield plan[iteration], images, send(self._labels[torch.as_tensor(indices)], device)
