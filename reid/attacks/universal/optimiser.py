"""The attack's optimiser: momentum on normalised gradients, steps of equal length."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from reid.errors import UsageError


class MISGD(torch.optim.Optimizer):
    """Momentum iterative sign gradient descent (MI-FGSM; Dong et al., 2018), as universal attacks use it.

    Per parameter tensor, with gradient g and accumulator b (zero at first):
    b <- momentum * b + g / |g|_1;  p <- p - lr * sign(b). A zero gradient adds nothing to b.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float = 0.8 / 255, momentum: float = 1.0
    ) -> None:
        if not (lr >= 0 and momentum >= 0):
            raise UsageError(f"step size {lr} and momentum {momentum} must be numbers of at least 0")
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update from the gradients in `.grad`; parameters without one stay where they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    state, g = self.state[parameter], parameter.grad
                    b = state.setdefault("accumulator", torch.zeros_like(parameter))
                    b.mul_(group["momentum"]).add_(g / g.abs().sum().clamp(min=torch.finfo(g.dtype).tiny))
                    parameter.sub_(group["lr"] * b.sign())
        return loss
