"""Random search that sees scores only: squares at the border of the budget (Andriushchenko et al., ECCV 2020)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.attacks.base import Attack, AttackBatch, Attacked, in_8_bits, linf
from reid.attacks.image.ranking import margin
from reid.attacks.threat import Threat
from reid.errors import UsageError
from reid.models.victim import Victim
from reid.runtime.device import send
from reid.runtime.progress import progress
from reid.runtime.seeds import generator

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # after how many of 10,000 calls the area halves


@dataclass(frozen=True)
class Square(Attack):
    """Begins with stripes; each further call gives one square a new colour of plus or minus `eps`, which stays where it
    raised the distance margin (see `margin`).

    `area` is the share of the image that a square has at first. All images of a batch get the same draws, so that the
    result for one does not depend on the others. Published: untargeted error of ImageNet models at 0.05 and 10,000
    calls 99.7 to 100 %. Raises UsageError for a budget or area outside [0, 1], no calls, or a negative seed.
    """

    eps: float = 8 / 255
    calls: int = 1600
    area: float = 0.3
    seed: int = 0

    kind = "search"
    needs = frozenset({"labels", "reference", "scores"})

    def __post_init__(self) -> None:
        if self.calls < 1 or self.seed < 0 or not 0 <= self.area <= 1:
            problem = f"a search of {self.calls} calls with area {self.area} and seed {self.seed} cannot be"
            raise UsageError(f"{problem}; give at least 1 call, an area in [0, 1] and a seed of at least 0")
        object.__setattr__(self, "threat", Threat(0.0, self.eps))

    @property
    def effort(self) -> str:
        """How much is tried, in words."""
        return f"{self.calls} call{'s' * (self.calls > 1)}"

    @torch.no_grad()
    def attack(self, victim: Victim, batch: AttackBatch) -> Attacked:
        """The best of all calls for each image, rounded to 8 bits within the budget."""
        clean, random = batch.images, generator(self.seed)
        lower, upper = (clean - self.eps).clamp(min=0), (clean + self.eps).clamp(max=1)
        _, channels, height, width = clean.shape

        def coins(*shape: int) -> Tensor:
            return send(torch.rand(shape, generator=random) < 0.5, clean.device)

        best = torch.where(coins(channels, 1, width), lower, upper)
        highest = margin(victim(best).float(), batch)
        for call in progress(range(1, self.calls), self.calls, "call", done=1):
            side = self.side(call, height, width)
            top, left = (int(torch.randint(size - side + 1, (), generator=random)) for size in (height, width))
            place = (..., slice(top, top + side), slice(left, left + side))
            images = best.clone()
            images[place] = torch.where(coins(channels, 1, 1), lower[place], upper[place])
            value = margin(victim(images).float(), batch)
            better = value > highest
            best = torch.where(better[:, None, None, None], images, best)
            highest = torch.where(better, value, highest)
        best = in_8_bits(best, clean, self.eps)
        return Attacked(best, {"delta": linf(best, clean)})

    def side(self, call: int, height: int, width: int) -> int:
        """The side of the square of a call, in pixels."""
        area = self.area * 0.5 ** sum(call * 10_000 > mark * self.calls for mark in HALVINGS)
        return max(1, min(height, width, round((area * height * width) ** 0.5)))
