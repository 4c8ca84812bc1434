"""The gradient of a defence step: on the source set, and on the virtual set with or without a look ahead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid.defenses.batches import Batch
from reid.defenses.inner import adam_step
from reid.defenses.network import Weights
from reid.errors import UsageError

DEFENSES = ("none", "adversarial", "mixed", "meta")
INNER_ORDERS = ("second", "first")
Loss = Callable[[Weights, Batch], Tensor]


@dataclass(frozen=True)
class Inner:
    """The inner step: learning rate of each weight, weight decay, and the order of the derivative through it."""

    lr: Mapping[str, float]
    weight_decay: float
    order: str = "second"

    def __post_init__(self) -> None:
        if self.order not in INNER_ORDERS:
            raise UsageError(f"inner order {self.order!r} is not one of {', '.join(INNER_ORDERS)}")


@dataclass(frozen=True)
class Step:
    """Losses, detached; gradients of their sum with respect to the weights; and with respect to each batch's
    perturbed images, which an online attacker climbs."""

    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]
    image_gradients: list[Tensor]


def step_gradients(
    loss_of: Loss, weights: Weights, source: Batch, virtual: Batch | None = None, inner: Inner | None = None
) -> Step:
    """The gradient of L(w; source) + L(w'; virtual) at the live weights w, which do not move.

    Without `inner`, w' = w: adversarial training on both sets (or, without `virtual`, on the source alone). With it,
    w' = adam_step(w, gradient of L(w; source)), a function of w (MAML; Finn et al., 2017): the gradient goes through
    the identity path w' = w + ..., and for order "second" through the inner gradient too, as a Hessian-vector product.
    Order "first" takes the inner gradient as a constant.
    `loss_of(weights, batch)` is a pure function of the weights; one that a loss does not use has no gradient.
    """
    second = inner is not None and inner.order == "second" and virtual is not None
    loss_tr = loss_of(weights, source)
    g_tr, on_source = _gradients(loss_tr, weights, source, create_graph=second)
    if virtual is None:
        return Step({"loss_tr": loss_tr.detach()}, g_tr, on_source)
    moved = weights if inner is None else adam_step(weights, g_tr, inner.lr, inner.weight_decay)
    loss_te = loss_of(moved, virtual)
    g_te, on_virtual = _gradients(loss_te, weights, virtual, create_graph=False)
    total = {name: _sum(g_tr.get(name), g_te.get(name)) for name in weights if name in g_tr or name in g_te}
    return Step({"loss_tr": loss_tr.detach(), "loss_te": loss_te.detach()}, total, on_source + on_virtual)


def _gradients(
    loss: Tensor, weights: Weights, batch: Batch, create_graph: bool
) -> tuple[dict[str, Tensor], list[Tensor]]:
    images = [x for x in (batch.perturbed,) if x is not None and x.requires_grad]
    found: Sequence[Tensor | None] = torch.autograd.grad(
        loss, [*weights.values(), *images], create_graph=create_graph, allow_unused=True
    )
    by_name = {name: g for name, g in zip(weights, found, strict=False) if g is not None}
    return by_name, [g.detach() for g in found[len(weights) :] if g is not None]


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor:
    parts = [g.detach() for g in (first, second) if g is not None]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
