"""An attack on each image by itself: projected gradient descent that pushes its feature away from the clean one."""

from collections.abc import Callable

import torch
from torch import Tensor

from reid.attacks.threat import Threat, spent_by
from reid.runtime.device import send
from reid.runtime.seeds import generator


def push_away(
    victim: Callable[[Tensor], Tensor], images: Tensor, eps: float | Tensor, steps: int, random: torch.Generator
) -> Tensor:
    """Images within `eps` (L-inf) of `images` (N, 3, H, W) and in [0, 1], their features as far away as found.

    The objective is the squared Euclidean distance to the image's own clean feature (SMA; Bouniot et al., 2020), which
    has no gradient at the image itself: the start is uniform in the budget, one draw for all images, so that the result
    for an image does not depend on its batch. `eps` is a number, or (N, 1, 1, 1). Sign steps of 2.5 eps / steps,
    projected after each (Madry et al., 2018).
    """
    lower, upper = (images - eps).clamp(min=0), (images + eps).clamp(max=1)
    start = send(torch.rand(images.shape[1:], generator=random), images.device)
    perturbed = lower + start * (upper - lower)
    with torch.no_grad():
        clean = victim(images).float()
    for _ in range(steps):
        with torch.enable_grad():
            perturbed.requires_grad_()
            distance = (victim(perturbed).float() - clean).pow(2).sum()
            (gradient,) = torch.autograd.grad(distance, perturbed)
        moved = perturbed.detach() + 2.5 / steps * eps * gradient.sign()
        perturbed = torch.minimum(torch.maximum(moved, lower), upper)
    return perturbed


class FeaturePGD:
    """`push_away` with everything fixed, as an attack that evaluation can run; the same images give the same result."""

    noise_type = None

    def __init__(
        self, victim: Callable[[Tensor], Tensor], eps: float = 8 / 255, steps: int = 15, seed: int = 0
    ) -> None:
        self.victim, self.eps, self.steps, self.seed = victim, eps, steps, seed
        self.threat = Threat(0.0, eps)

    def attack(self, images: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Perturbed images (N, 3, H, W), and what was spent on them."""
        perturbed = push_away(self.victim, images, self.eps, self.steps, generator(self.seed))
        return perturbed, spent_by([("delta", images, perturbed)])
