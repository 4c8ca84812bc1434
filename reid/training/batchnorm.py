"""Batch normalisation in training mode with a faster second derivative, from the kernels of the first alone.

With M values per channel, x^ = r (x - mean) the normalised input and P(v) = v - sum(v) / M - x^ sum(v x^) / M, the
backward pass is dx = weight r P(dy), where P is symmetric. With a the gradient with respect to dx, the second
derivative takes two calls of the backward kernel, one for r P(dy) and one for r P(a).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

_norm_backward = torch.ops.aten.native_batch_norm_backward


class TwiceBatchNorm(_BatchNorm):
    """nn.BatchNorm1d or nn.BatchNorm2d, on inputs (N, C, ...), with a faster second derivative in training mode."""

    num_batches_tracked: Tensor

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self.num_batches_tracked.add_(1)
        statistics = self.running_mean, self.running_var, self.momentum, self.eps
        return _Normalised.apply(input, self.weight, self.bias, *statistics)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""


def differentiate_twice(network: nn.Module) -> None:
    """Give the batch normalisations of `network` the faster second derivative, in place; their values stay the same."""
    for layer in network.modules():  # which keep their weights, hooks and places
        if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
            layer.__class__ = TwiceBatchNorm


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, momentum: float, eps: float
    ) -> Tensor:
        y, batch_mean, inverse_std = torch.native_batch_norm(x, weight, bias, mean, var, True, momentum, eps)
        ctx.save_for_backward(x, weight, batch_mean, inverse_std)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        return *_NormalisedBackward.apply(dy, x, weight, mean, inverse_std, ctx.eps), None, None, None, None


class _NormalisedBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse_std: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dx, dweight, dbias = _norm_backward(dy, x, weight, None, None, mean, inverse_std, True, eps, [True] * 3)
        ctx.save_for_backward(dy, x, weight, mean, inverse_std, dweight)
        ctx.eps = eps
        return dx, dweight, dbias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, a: Tensor, to_weight: Tensor, to_bias: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients with respect to dy, x and weight of <a, dx> + <to_weight, dweight> + <to_bias, dbias>."""
        dy, x, weight, mean, inverse_std, dy_xhat = ctx.saved_tensors
        plain = torch.ones_like(weight)
        mask = [True, True, False]
        rp_a, a_xhat, _ = _norm_backward(a, x, plain, None, None, mean, inverse_std, True, ctx.eps, mask)
        rp_dy, _, _ = _norm_backward(dy, x, plain, None, None, mean, inverse_std, True, ctx.eps, mask)
        other = [d for d in range(x.ndim) if d != 1]
        to_gamma = (a * rp_dy).sum(other)
        scale = -weight * inverse_std * (weight.numel() / x.numel())  # -weight r / M
        shape = [1, -1] + [1] * (x.ndim - 2)

        def per_channel(values: Tensor) -> Tensor:
            return values.view(shape)

        slope = scale * to_gamma * inverse_std  # of x^ = r (x - mean), as a function of x
        on_x = torch.addcmul(per_channel(-slope * mean), x, per_channel(slope))
        on_x.addcmul_(rp_a, per_channel(scale * dy_xhat)).addcmul_(rp_dy, per_channel(scale * a_xhat + to_weight))
        on_dy = rp_a.mul_(per_channel(weight)).addcmul_(x, per_channel(to_weight * inverse_std))
        on_dy.add_(per_channel(to_bias - to_weight * inverse_std * mean))
        return on_dy, on_x, to_gamma, None, None, None
