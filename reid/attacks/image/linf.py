"""One loop for all L-inf attacks on each image by itself: start, objective, step rule, projection, restarts.

A published attack overrides one or two of these methods; what is here is projected gradient ascent (PGD; Madry et al.,
2018) that keeps the best iterate of each image.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import Attack, AttackBatch, Attacked, in_8_bits, linf
from reid.attacks.threat import Threat
from reid.errors import UsageError
from reid.models.victim import Victim
from reid.runtime.device import send
from reid.runtime.progress import progress
from reid.runtime.seeds import generator

Features = Callable[[Tensor], Tensor]  # images (N, 3, H, W) in [0, 1] to features (N, D)


@dataclass(frozen=True)
class LInf(Attack):
    """The loop. `eps` is the budget in [0, 1]; `restarts` times `steps` steps are taken from starts drawn with `seed`.

    What is drawn is drawn once for all images, so that the result for an image does not depend on its batch. Raises
    UsageError for a budget outside [0, 1], fewer than one step or restart, or a negative seed.
    """

    eps: float = 8 / 255
    steps: int = 15
    restarts: int = 1
    seed: int = 0

    kind = "image"
    needs = frozenset({"gradients"})

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1 or self.seed < 0:
            raise UsageError(
                f"an attack of {self.steps} steps and {self.restarts} restarts with seed {self.seed} cannot be; "
                "give at least 1 of each, and a seed of at least 0"
            )
        object.__setattr__(self, "threat", Threat(0.0, self.eps))

    @property
    def effort(self) -> str:
        """How much is tried, in words."""
        starts = f", best of {self.restarts}" if self.restarts > 1 else ""
        return f"{self.steps} step{'s' * (self.steps > 1)}{starts}"

    @abstractmethod
    def objective(self, features: Tensor, clean: Tensor, batch: AttackBatch) -> Tensor:
        """How well each image is attacked (N,), the more the better, from its features and clean features (N, D)."""

    def guides(self, victim: Features, batch: AttackBatch) -> Tensor:
        """What the objective gets as clean features (N, D)."""
        return victim(batch.images)

    def start(self, images: Tensor, lower: Tensor, upper: Tensor, random: torch.Generator) -> Tensor:
        """The first iterate (N, 3, H, W) for images between the bounds: uniform, the same draw for all images."""
        return lower + send(torch.rand(lower.shape[1:], generator=random), lower.device) * (upper - lower)

    def direction(self, gradient: Tensor, last: Tensor) -> Tensor:
        """Where a step goes, from the gradient and the direction of the last step (at first 0): along the gradient."""
        return gradient

    def step(self, images: Tensor, direction: Tensor, eps: float | Tensor, number: int) -> Tensor:
        """Where step `number` (0-based) leads from `images`, before projection: sign steps of 2.5 eps / steps."""
        return images + 2.5 / self.steps * eps * direction.sign()

    def project(self, images: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The nearest images inside the budget and [0, 1]."""
        return torch.minimum(torch.maximum(images, lower), upper)

    def attack(self, victim: Victim, batch: AttackBatch) -> Attacked:
        """The best iterate of each image over all restarts, rounded to 8 bits within the budget."""
        with torch.no_grad():
            clean = self.guides(victim, batch).float()
        best, highest = batch.images, torch.full((len(clean),), -torch.inf, device=clean.device)
        for restart in progress(range(self.restarts), self.restarts, ""):
            iterates = self.iterates(victim, batch, clean, self.eps, generator(self.seed, restart))
            for images, value in progress(iterates, self.steps + 1, "step"):
                if value is None:
                    with torch.no_grad():
                        value = self.objective(victim(images).float(), clean, batch)
                better = value > highest
                best = torch.where(better[:, None, None, None], images, best)
                highest = torch.where(better, value, highest)
        best = in_8_bits(best, batch.images, self.eps)
        return Attacked(best, {"delta": linf(best, batch.images)})

    def iterates(
        self, victim: Features, batch: AttackBatch, clean: Tensor, eps: float | Tensor, random: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Each iterate (N, 3, H, W) with its objective (N,); the last one, after all steps, without.

        `eps` is a number or (N, 1, 1, 1), `clean` are the clean features (N, D).
        """
        lower, upper = (batch.images - eps).clamp(min=0), (batch.images + eps).clamp(max=1)
        images = self.start(batch.images, lower, upper, random)
        direction = torch.zeros_like(images)
        for number in range(self.steps):
            value, gradient = self.ascent(victim, batch, clean, images)
            yield images, value
            direction = self.direction(gradient, direction)
            images = self.project(self.step(images, direction, eps, number), lower, upper)
        yield images, None

    def ascent(self, victim: Features, batch: AttackBatch, clean: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """The objective (N,) at some images, and its gradient (N, 3, H, W), both detached."""
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            value = self.objective(victim(images).float(), clean, batch)
            (gradient,) = torch.autograd.grad(value.sum(), images)
        return value.detach(), gradient
