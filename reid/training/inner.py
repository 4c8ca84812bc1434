"""The inner step of meta-learned defence: one Adam-like step from zero moments, and its derivative."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reid.errors import UsageError

ORDERS = ("first", "second")
BETA2 = 0.999
EPSILON = 1e-8
ROOT = (1 - BETA2) ** 0.5


@dataclass(frozen=True)
class Inner:
    """The inner step: learning rate of each weight, weight decay, and the order of the derivative through it.

    With g the gradient plus `weight_decay` times the weight: m = 0.1 g, v = 0.001 g^2 + 1e-8, and the step is
    lr / 0.1 * m / (sqrt(v) / sqrt(0.001) + 1e-8). The constant inside v keeps the square root differentiable at g = 0.
    Raises UsageError for an unknown order.
    """

    lr: Mapping[str, float]
    weight_decay: float
    order: str = "first"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise UsageError(f"inner order {self.order!r} is not one of {', '.join(ORDERS)}")

    @torch.no_grad()
    def step(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`weights` moved by one step, as leaves that take gradients; the weights themselves stay as they are, and so
        does one without a gradient."""
        moved = {name: weight.detach() for name, weight in weights.items()}
        for name, gradient in gradients.items():
            g = gradient + self.weight_decay * moved[name]
            moved[name] = moved[name] - self.lr[name] * (g / (_root(g) / ROOT + EPSILON))
        return {name: weight.requires_grad_() for name, weight in moved.items()}

    @torch.no_grad()
    def pullback(
        self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], to_moved: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The chain rule through `step`: from the gradient of a loss with respect to the moved weights, those with
        respect to the weights (at constant gradients) and with respect to the gradients.

        Elementwise, d step / d g = lr (1e-8 / (s sqrt(0.001)) + 1e-8) / (s / sqrt(0.001) + 1e-8)^2 with s = sqrt(v):
        in this form nothing cancels, and no graph of the step is kept.
        """
        to_weights, to_gradients = dict(to_moved), {}
        for name, above in to_moved.items():
            if name in gradients:
                root = _root(gradients[name] + self.weight_decay * weights[name])
                slope = (EPSILON / (root * ROOT) + EPSILON) / (root / ROOT + EPSILON).square()
                to_gradients[name] = above * slope.mul_(-self.lr[name])
                to_weights[name] = above + self.weight_decay * to_gradients[name]
        return to_weights, to_gradients


def _root(g: Tensor) -> Tensor:
    """The square root of v."""
    return ((1 - BETA2) * g.square() + EPSILON).sqrt()
