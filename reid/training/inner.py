"""The inner step of meta-learned defence: one Adam-like step from zero moments, and its derivative."""

from collections.abc import Mapping

import torch
from torch import Tensor

BETA2 = 0.999
EPSILON = 1e-8
ROOT = (1 - BETA2) ** 0.5


@torch.no_grad()
def adam_step(
    parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], lr: Mapping[str, float], weight_decay: float
) -> dict[str, Tensor]:
    """`parameters` moved by one step, as leaves that take gradients; the parameters themselves stay as they are.

    With g the gradient plus `weight_decay` times the parameter: m = 0.1 g, v = 0.001 g^2 + 1e-8, and the step is
    lr / 0.1 * m / (sqrt(v) / sqrt(0.001) + 1e-8). The constant inside v keeps the square root differentiable at g = 0.
    A parameter without a gradient stays where it is.
    """
    moved = {name: value.detach() for name, value in parameters.items()}
    for name, gradient in gradients.items():
        total = gradient + weight_decay * moved[name]
        moved[name] = moved[name] - lr[name] * (total / (_root(total) / ROOT + EPSILON))
    return {name: value.requires_grad_() for name, value in moved.items()}


@torch.no_grad()
def adam_pullback(
    parameters: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    lr: Mapping[str, float],
    weight_decay: float,
    to_moved: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The chain rule through `adam_step`: from the gradient of a loss with respect to the moved parameters, those with
    respect to the parameters (at constant gradients) and with respect to the gradients.

    Elementwise, d step / d g = lr (1e-8 / (s sqrt(0.001)) + 1e-8) / (s / sqrt(0.001) + 1e-8)^2 with s = sqrt(v): in
    this form nothing cancels, and no graph of the step is kept.
    """
    to_parameters, to_gradients = dict(to_moved), {}
    for name in filter(gradients.__contains__, to_moved):
        root = _root(gradients[name] + weight_decay * parameters[name])
        slope = (EPSILON / (root * ROOT) + EPSILON) / (root / ROOT + EPSILON).square()
        to_gradients[name] = to_moved[name] * slope.mul_(-lr[name])
        to_parameters[name] = to_moved[name] + weight_decay * to_gradients[name]
    return to_parameters, to_gradients


def _root(gradient: Tensor) -> Tensor:
    """The square root of v."""
    return ((1 - BETA2) * gradient.square() + EPSILON).sqrt()
