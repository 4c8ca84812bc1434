"""Models that pretend to withstand attacks, each in one known way, and people on whom they are judged.

An image has 8 x 4 pixels. Its first row tells who it is by 80 grey levels more or less than the middle, the next two by
20, and the others by 32 more, less, or none, as often each: their mean is the same for all people.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid.attacks import Threat
from reid.datasets import Dataset, Release, Sample
from reid.evaluation.effort import Effort
from reid.evaluation.experiment import Experiment
from reid.evaluation.plan import Plan, Surrogate, possible
from reid.evaluation.protocol import Protocol
from reid.evaluation.relearning import Relearning, Source
from reid.evaluation.retrieval import Retrieval
from reid.evaluation.rows import CLEAN_ROW, control_rows
from reid.evaluation.suites import Each, Suite, Universal
from reid.evaluation.verdict import Judgement, main_budget, traits_of
from reid.loading import Images
from reid.models import InputSpec, Victim
from reid.runtime.device import resolve

CPU = resolve("cpu", "fp32")
IMAGES = Images(8, 4, workers=0)
EPS = 8 / 255
Threats = Sequence[tuple[int, Threat]]
THREATS: Threats = [(2, Threat(0.0, EPS))]  # delta alone, so that it has the total of an attack on each image
SUITE = Suite(
    universal=(Universal("nearest", "query"), Universal("nearest", "query", scale=0.5)),
    each=(
        Each("cosine:steps=20,restarts=1", "query", longer=(2,)),
        Each("smooth-ap:steps=40,restarts=2", "query", longer=(2,)),
        Each("smooth-ap:steps=40,restarts=2", "query", scale=0.5),
        Each("fgsm", "query"),
        Each("smooth-ap:steps=40,restarts=2", "query", scale=4.0, share=0.1),
        Each("square:calls=20", "query", share=0.1),
    ),
    transfer=("smooth-ap:steps=40,restarts=2",),
    effort={"restarts": 1, "adaptive_epochs": 16},
    judges=True,
)
SEARCHING = replace(SUITE, each=(*SUITE.each[:-1], Each("square:calls=400", "query", share=0.1)))
INFORMED = replace(SUITE, each=SUITE.each[1:])  # attacks on each image know the gallery


def people(folder: Path, count: int = 12, seed: int = 0) -> list[Sample]:
    """`count` people under three cameras."""
    random, samples = np.random.default_rng(seed), []
    for pid in range(1, count + 1):
        coarse = random.choice([-1, 1], (3, 4, 3)) * np.array([80, 20, 20])[:, None, None]
        coarse[0, 0] = 80 if pid % 2 else -80
        fine = random.permutation(np.repeat([-32, 0, 32], [10, 40, 10])).reshape(5, 4, 3)
        for camid in range(3):
            pixels = 128 + np.concatenate([coarse, fine]) + random.integers(-1, 2, (8, 4, 3))
            path = folder / f"{seed}_{pid:04d}_c{camid + 1}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            samples.append(Sample(str(path), pid, camid))
    return samples


def weights(seed: int) -> Tensor:
    """Of the last five rows: (3, 5, 4, 8)."""
    return torch.randn(3, 5, 4, 8, generator=torch.Generator().manual_seed(seed))


OWN = weights(1)
OTHER = (OWN + weights(2)) / 2**0.5  # of another model, which is half the same


def linear(images: Tensor, weight: Tensor = OWN) -> Tensor:
    """Features that hide nothing."""
    return torch.einsum("nchw,chwd->nd", images[:, :, 3:], weight)


def other(images: Tensor) -> Tensor:
    """Those of another model that hides nothing."""
    return linear(images, OTHER)


PLACES = torch.arange(32).view(1, 1, 8, 4)


def partly(images: Tensor, shown: Tensor) -> Tensor:
    """The images, with a gradient for the pixels that are `shown` alone."""
    return torch.where(shown, images, images.detach())


def staircase(images: Tensor) -> Tensor:
    """Two rows go through steps of four grey levels, which have no gradient."""
    steps = (images * 255 / 4).round() * 4 / 255
    return linear(torch.where(PLACES < 20, steps, images))


def noisy() -> Callable[[Tensor], Tensor]:
    """Adds noise of its own each time."""
    random = torch.Generator().manual_seed(0)
    return lambda images: linear(images) + 0.002 * torch.randn(len(images), 8, generator=random)


def detached(images: Tensor) -> Tensor:
    return linear(images.detach())


def collapsed(images: Tensor) -> Tensor:
    """All features are close to one that is far away."""
    return linear(images) + 1000 * torch.eye(8)[0]


def steady(images: Tensor) -> Tensor:
    """Looks at 24 pixels alone, of which 8/255 do not change enough, and 32/255 do."""
    return torch.tanh(60 * (images[:, :, 1:3] - 128 / 255)).flatten(1)


def stubborn(images: Tensor) -> Tensor:
    """Half of the people are known by a row that 32/255 do not change enough."""
    code = torch.tanh(25 * (images[:, :, 0] - 128 / 255))
    return torch.cat([linear(images), (1.2 * (code[:, :, :1] + 1) * code).flatten(1)], 1)


def slow(images: Tensor) -> Tensor:
    """Each time the gradient is that of another pixel or two."""
    block = (images.detach() * 255).sum((1, 2, 3)).long() % 14
    return linear(partly(images, block.view(-1, 1, 1, 1) == PLACES % 14))


def folded(images: Tensor) -> Tensor:
    """A change of more than nine grey levels counts half."""
    beside = (images[:, :, 3:] * 255 - 128 + 16) % 32 - 16  # the nearest of -32, 0 and 32 levels
    less = torch.where(beside.abs() > 9, 0.55 * beside, 0.0) / 255
    return linear(torch.cat([images[:, :, :3], images[:, :, 3:] - less], 2))


def shy(images: Tensor) -> Tensor:
    """Images that are not as people are have a gradient in six pixels alone."""
    beside = (images[:, :, 3:] * 255 - 128 + 16) % 32 - 16
    changed = beside.abs().mean((1, 2, 3), keepdim=True) > 1.5
    return linear(partly(images, ~changed | (PLACES % 10 < 3)))


def divided(images: Tensor) -> Tensor:
    """The gradient of each person is that of six pixels of their own."""
    person = (images[:, 0, 0] > 0.5).long() @ torch.tensor([1, 2, 4, 8])
    return linear(partly(images, (PLACES + 7 * person.view(-1, 1, 1, 1)) % 20 < 6))


def dazzled(images: Tensor) -> Tensor:
    """Brightness, which is the same for all people, is most of the features."""
    return torch.cat([linear(images), 60 * images[:, :, 3:].mean((1, 2, 3))[:, None]], 1)


def victim(features: Callable[[Tensor], Tensor]) -> Victim:
    digest = hashlib.sha256(features.__name__.encode()).hexdigest()
    return Victim(features, InputSpec(8, 4, resize=None), name="toy", sha256=digest)


@dataclass
class Court:
    """Judges models on people that are drawn into `folder`."""

    folder: Path

    def __post_init__(self) -> None:
        samples, self.training = people(self.folder), people(self.folder, seed=1)
        query, gallery = samples[::3], [sample for sample in samples if sample.camid]
        self.sides, self.known = IMAGES.stores((query, gallery)), IMAGES.store(self.training)
        splits = {"trainval": self.training, "query": query, "gallery": gallery}
        self.dataset = Dataset("toy", self.folder, splits, 3, Release("toy"))

    def retrieval(self, model: Victim) -> Retrieval:
        return Retrieval(model, self.sides, CPU, 64, self.known)

    def plan(self, model: Victim, suite: Suite, threats: Threats = THREATS, others: Sequence[Victim] = ()) -> Plan:
        folder, pids = self.folder / "results", np.array([sample.pid for sample in self.sides[0].samples])
        judgement = Judgement(pids, folder, main_budget(threats), traits_of(model))
        effort = Effort(batch_size=24, num_instances=3, adaptive_iters=6, **suite.effort)
        learner = Relearning(model, Source("toy", self.training), IMAGES, effort, CPU, 0, folder / "attackers")
        known = [
            Surrogate(f"other {number}", self.retrieval(other), replace(learner, victim=other))
            for number, other in enumerate(others)
        ]
        return Plan(possible(suite, model), threats, judgement, 0, relearning=learner, surrogates=known)

    def experiment(self, model: Victim) -> Experiment:
        seen = {"path": "toy.pth", "arch": "toy", "sha256": model.sha256}
        settings = Protocol().settings("euclidean", IMAGES, CPU)
        folder = self.folder / "results"
        return Experiment(self.retrieval(model), self.dataset, seen, settings, "query", 0, "evaluate.py", folder)

    def judge(
        self, model: Victim, suite: Suite = SUITE, threats: Threats = THREATS, others: Sequence[Victim] = ()
    ) -> Judgement:
        plan, experiment = self.plan(model, suite, threats, others), self.experiment(model)
        for rows in ([CLEAN_ROW], plan.rows(reuse=False), control_rows(threats, 0, 8, 4)):
            for result in experiment.run(rows, reuse=False):
                plan.judgement.add(result)
        return plan.judgement
