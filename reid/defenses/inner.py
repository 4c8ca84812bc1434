"""The inner step of meta-learned defence: one Adam-like step from zero moments, as a pure function."""

from collections.abc import Mapping

from torch import Tensor

BETA1, BETA2 = 0.9, 0.999
EPSILON = 1e-8


def adam_step(
    parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor], lr: Mapping[str, float], weight_decay: float
) -> dict[str, Tensor]:
    """`parameters` moved by one step; nothing changes in place, and gradients flow through to both arguments.

    With g the gradient plus `weight_decay` times the parameter: m = 0.1 g, v = 0.001 g^2 + 1e-8, and the step is
    lr / 0.1 * m / (sqrt(v) / sqrt(0.001) + 1e-8). The constant inside v keeps the square root differentiable at g = 0.
    A parameter without a gradient stays where it is.
    """
    return {
        name: _moved(value, gradients[name], lr[name], weight_decay) if name in gradients else value
        for name, value in parameters.items()
    }


def _moved(parameter: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> Tensor:
    gradient = gradient + weight_decay * parameter
    first = (1 - BETA1) * gradient
    second = (1 - BETA2) * gradient.square() + EPSILON
    return parameter - lr / (1 - BETA1) * first / (second.sqrt() / (1 - BETA2) ** 0.5 + EPSILON)
