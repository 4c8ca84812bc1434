"""One step of the meta attack: learn on the source such that what is learnt works on the virtual set too.

All state is in the perturbation's parameters and the optimiser, so that a resumed run is exact.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from reid.attacks.universal.objectives import pull_farthest
from reid.attacks.universal.perturbations import Perturbation
from reid.attacks.universal.recipes import META_MODES, Objective, Penalty
from reid.errors import UsageError
from reid.runtime import distributed


@dataclass(frozen=True)
class KnownImages:
    """P x K images (N, 3, H, W) in [0, 1], their identities (N,), on the CPU, and the victim's clean features (N, D).

    Under torchrun each process has its part of the images, and the identities and features of all.
    """

    images: Tensor
    pids: Tensor
    clean_features: Tensor


def meta_step(
    noise: Perturbation,
    victim: Callable[[Tensor], Tensor],
    source: KnownImages,
    virtual: KnownImages | None,
    optimizer: torch.optim.Optimizer,
    mode: str = "maml",
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    objective: Objective = pull_farthest,
    virtual_objective: Objective | None = None,
    penalty: Penalty | None = None,
) -> dict[str, Tensor]:
    """Update `noise` once, in place, and project it.

    P are the parameters, inside the budget; lr is the optimiser's step of each. g_tr is the gradient of `objective` on
    the source batch (meta-train) at P, g_te that of `virtual_objective` (default: the same) on the virtual batch:
    - "maml": at P' = projection(P - lr * sign(g_tr)), as a function of P. P itself does not move for it;
    - "alternating": the same point, but P moves there and stays, as in the released code;
    - "none": at P; without a virtual batch this is the plain universal attack.
    Then the optimiser steps on g_tr + g_te, and the result is projected. The gradients are also those of `penalty`, of
    the perturbed images, where there is one; the losses that are returned are without it.

    The victim (images to features, frozen, in eval mode) runs inside `autocast()`, all else in float32. Returns the
    losses, detached: `loss_tr`, and `loss_te` where there is a virtual batch. Raises UsageError for an unknown mode, a
    meta mode without a virtual batch, and a batch of fewer than two identities.
    """
    if mode not in META_MODES:
        raise UsageError(f"meta mode {mode!r} is not one of {', '.join(META_MODES)}")
    if virtual is None and mode != "none":
        raise UsageError(f"meta mode {mode} needs a virtual dataset to meta-test on; or use mode none")
    live: dict[str, Tensor] = dict(noise.named_parameters())

    def loss_and_gradients(
        batch: KnownImages, parameters: dict[str, Tensor], minimised: Objective
    ) -> tuple[Tensor, list[Tensor]]:
        perturbed = functional_call(noise, parameters, (batch.images,))
        with autocast():
            features = victim(perturbed)
        loss = minimised(batch.clean_features, distributed.gather(features.float()), batch.pids)
        total = loss if penalty is None else loss + penalty(perturbed)
        own = torch.autograd.grad(total / distributed.size(), tuple(live.values()))
        return loss.detach(), distributed.summed(own)

    loss_tr, gradients = loss_and_gradients(source, live, objective)
    losses = {"loss_tr": loss_tr}
    if virtual is not None:
        place = live if mode == "none" else sign_step(noise, gradients, optimizer)
        if mode == "alternating":
            noise.load_state_dict(place)
            place = live
        losses["loss_te"], g_te = loss_and_gradients(virtual, place, virtual_objective or objective)
        gradients = [a + b for a, b in zip(gradients, g_te, strict=True)]
    for parameter, gradient in zip(live.values(), gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    optimizer.zero_grad()
    noise.project_()
    return losses


def sign_step(noise: Perturbation, gradients: list[Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """projection(P - lr * sign(g)), by name, as a differentiable function of the live parameters P.

    The sign is constant almost everywhere: the derivative is one where P moves freely, zero where it is cut.
    """
    lr = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    pairs = zip(noise.named_parameters(), gradients, strict=True)
    return noise.projected({name: p - lr[p] * gradient.sign() for (name, p), gradient in pairs})
