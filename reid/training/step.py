"""The gradient of a defence step: on the source set, and on the virtual set with or without a look-ahead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from reid.runtime import distributed
from reid.training.batches import TrainingBatch
from reid.training.inner import Inner
from reid.training.network import Weights

Loss = Callable[[Weights, TrainingBatch], Tensor]


@dataclass(frozen=True)
class Step:
    """Losses, detached; gradients of their sum with respect to the weights; and with respect to each batch's
    perturbed images, which an online adversary climbs."""

    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]
    image_gradients: list[Tensor]


def step_gradients(
    loss_of: Loss,
    weights: Weights,
    source: TrainingBatch,
    virtual: TrainingBatch | None = None,
    inner: Inner | None = None,
) -> Step:
    """The gradient of L(w; source) + L(w'; virtual) at the live weights w, which do not move.

    Without `inner`, w' = w: adversarial training on both sets (or, without `virtual`, on the source alone). With it,
    w' = inner.step(w, gradient of L(w; source)), a function of w (MAML; Finn et al., 2017): the gradient goes through
    the identity path w' = w + ..., and for order "second" through the inner gradient too, as a Hessian-vector product.
    Order "first" takes the inner gradient as a constant.
    `loss_of(weights, batch)` is a pure function of the weights; one that a loss does not use has no gradient.
    With several processes each has its share of the images, and `loss_of` gives all the loss of the whole batch; they
    get the whole gradient of the weights, and each that of its own images.
    """
    second = inner is not None and inner.order == "second" and virtual is not None
    loss_tr = loss_of(weights, source)
    g_tr, on_source = _gradients(loss_tr, weights, source, create_graph=second)
    total = _of_all({name: gradient.detach() for name, gradient in g_tr.items()})
    if virtual is None:
        return Step({"loss_tr": loss_tr.detach()}, total, on_source)
    moved = weights if inner is None else inner.step(weights, total)
    loss_te = loss_of(moved, virtual)
    g_te, on_virtual = _gradients(loss_te, moved, virtual)
    parts = [_of_all(g_te)]
    if inner is not None:
        parts[0], back = inner.pullback(weights, total, parts[0])
        if second:
            parts.append(_of_all(_product(g_tr, weights, back)))
    for name, gradient in chain.from_iterable(part.items() for part in parts):
        total[name] = total[name].add_(gradient) if name in total else gradient
    losses = {"loss_tr": loss_tr.detach(), "loss_te": loss_te.detach()}
    return Step(losses, total, on_source + on_virtual)


def _gradients(
    loss: Tensor, weights: Weights, batch: TrainingBatch, create_graph: bool = False
) -> tuple[Weights, list[Tensor]]:
    """This process's part of the gradient of a loss: with respect to the weights that it uses, and to the images."""
    images = [x for x in (batch.perturbed,) if x is not None and x.requires_grad]
    gradients: Sequence[Tensor | None] = torch.autograd.grad(
        loss / distributed.size(), [*weights.values(), *images], create_graph=create_graph, allow_unused=True
    )
    by_name = {name: g for name, g in zip(weights, gradients, strict=False) if g is not None}
    return by_name, [g.detach() for g in gradients[len(weights) :] if g is not None]


def _product(gradients: Weights, weights: Weights, vector: Weights) -> Weights:
    """This process's part of Hessian x vector: the derivative of <gradients, vector> with respect to the weights."""
    names = [name for name in vector if gradients[name].requires_grad]
    outputs, factors = [gradients[name] for name in names], [vector[name] for name in names]
    products = torch.autograd.grad(outputs, list(weights.values()), factors, allow_unused=True)
    return {name: g for name, g in zip(weights, products, strict=True) if g is not None}


def _of_all(gradients: Weights) -> Weights:
    """The sums over the processes."""
    return dict(zip(gradients, distributed.summed([*gradients.values()]), strict=True))
