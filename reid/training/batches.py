"""Batches of training: P x K augmented images of a set, and perturbed ones made from them in pixel space."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from reid.datasets import Sample
from reid.datasets import labels as label_map
from reid.loading import Images, PKSampler, augment, to_images
from reid.runtime import distributed
from reid.runtime.device import send
from reid.runtime.seeds import generator
from reid.training.adversaries.aim import Aim
from reid.training.adversaries.base import Adversary


class Drawn(NamedTuple):
    """Indices of the whole batch; own images in [0, 1], their labels, and the images before colour jitter."""

    indices: Sequence[int]
    images: Tensor
    labels: Tensor
    before: Tensor


@dataclass(frozen=True)
class TrainingBatch:
    """Clean images (N, 3, H, W), perturbed ones (M, 3, H, W) or None, in [0, 1], and labels (N + M,): those of the
    clean images, then those of the perturbed. `before` are the drawn images without colour jitter and perturbation;
    `virtual` says which head knows the labels. With several processes each has its share of the drawn images, and the
    perturbed ones made from them. Where all are perturbed, none is clean."""

    clean: Tensor
    perturbed: Tensor | None
    labels: Tensor
    before: Tensor
    virtual: bool = False

    @property
    def every(self) -> int:
        """Perturbed images were made from each `every`-th drawn one."""
        return 2 if len(self.clean) else 1

    @property
    def images(self) -> Tensor:
        """All images (N + M, 3, H, W)."""
        images = self.clean if self.perturbed is None else torch.cat([self.clean, self.perturbed])
        return images.contiguous(memory_format=torch.channels_last)


def with_perturbed(
    drawn: Drawn,
    adversary: Adversary | None,
    random: torch.Generator,
    virtual: bool,
    aim: Aim | None = None,
    every: int = 2,
) -> tuple[TrainingBatch, Tensor | None]:
    """The batch of N drawn images, every second one once more as `adversary` perturbs it.

    Every second one of a P x K batch is half of each identity; `aim` is for that half. With `every` 1 all are
    perturbed, `aim` is for all, and none is left clean. Returns the batch, in which the perturbed images are a leaf of
    their own, and those images as the adversary gave them, with the graph that leads back to it.
    """
    _, clean, labels, before = drawn
    if adversary is None:
        return TrainingBatch(clean, None, labels, before, virtual), None
    perturbed = adversary.perturb(clean[::every], random, aim=aim)
    leaf = perturbed.detach().requires_grad_(perturbed.requires_grad)
    clean, labels = (clean[:0], labels) if every == 1 else (clean, torch.cat([labels, labels[::every]]))
    return TrainingBatch(clean, leaf, labels, before, virtual), perturbed


class TrainingSet:
    """One set as training sees it: P x K batches, augmented, with labels 0 .. num_classes - 1.

    With `labelled` False, identities play no part: batches are images drawn at random, and no labels are to be read.
    `jitter` is the strength of colour jitter, 0 for none. The batches of an epoch depend on (seed, epoch) alone; with
    several processes each has its share of every batch. Raises UsageError, naming the set, when it cannot fill one.
    """

    def __init__(
        self,
        name: str,
        samples: Sequence[Sample],
        images: Images,
        *,
        batch_size: int,
        num_instances: int,
        seed: int,
        labelled: bool = True,
        jitter: float = 0.0,
    ) -> None:
        self.name, self.samples, self.images, self.batch_size, self.seed = name, samples, images, batch_size, seed
        self.jitter = jitter
        pids = [sample.pid for sample in samples] if labelled else range(len(samples))
        self._sampler = PKSampler(pids, batch_size, num_instances if labelled else 1, seed, name)
        self.store = images.store(samples)
        label_of = label_map(samples)
        self.labels = torch.tensor([label_of[sample.pid] for sample in samples])
        self.num_classes = len(label_of)

    @property
    def batches_per_epoch(self) -> int:
        """As many as show each image once, on average; the remainder is left out."""
        return max(1, len(self.samples) // self.batch_size)

    def plain(self, device: torch.device) -> Iterator[Tensor]:
        """Blocks of this process's share of all images, in their order, not augmented, in [0, 1] on `device`."""
        places = range(len(self.samples))
        parts = [places[first : first + self.batch_size] for first in places[:: self.batch_size]]
        for _, pixels in self.store.batches(distributed.share(parts)):
            yield to_images(pixels, device)

    def epoch(self, epoch: int, batches: int, device: torch.device) -> Iterator[Drawn]:
        """Each batch of an epoch, on `device`."""
        plan = self._sampler.epoch(epoch, batches)
        own = self.store.batches([distributed.share(indices) for indices in plan])
        for iteration, (indices, pixels) in enumerate(own):
            random = generator(self.seed, epoch, iteration)
            drawn = augment.draw(len(plan[iteration]), pixels.shape[2:], random)
            images = before = augment.usual(pixels, distributed.share(drawn), device)
            if self.jitter:
                factors = augment.draw_jitter(len(plan[iteration]), self.jitter, random)
                images = augment.jittered(before, distributed.share(factors))
            yield Drawn(plan[iteration], images, send(self.labels[torch.as_tensor(indices)], device), before)
