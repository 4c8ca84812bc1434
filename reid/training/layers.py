"""Layers that training puts in place of torch's, which keep their weights, hooks and names: batch normalisation with a
faster second derivative, and layers whose result depends on the whole batch, of which each process has its share."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout
from torch.nn.modules.batchnorm import _BatchNorm

from reid.runtime import distributed

_norm_backward = torch.ops.aten.native_batch_norm_backward


def differentiate_twice(network: nn.Module) -> None:
    """Give the batch normalisations of `network` the faster second derivative, in place; their values stay the same."""
    for layer in network.modules():
        if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
            layer.__class__ = TwiceBatchNorm


def synchronise(network: nn.Module, clean: int) -> None:
    """Make `network` in place one that gives what one process would give for the batches of all, `clean` images each.

    Every other row of a batch comes after those. In one process it stays as it is.
    """
    if distributed.size() == 1:
        return
    distributed.same_(network)
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.__class__ = SyncedBatchNorm
        elif isinstance(layer, nn.Dropout):
            layer.__class__ = SharedDropout
            cast(SharedDropout, layer).clean = clean


class _TrainingBatchNorm(_BatchNorm):
    """Batch normalisation of inputs (N, C, ...) that is its own in training mode, and torch's in eval mode."""

    num_batches_tracked: Tensor
    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self.num_batches_tracked.add_(1)
        return self.normalised(input)

    def normalised(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""


class TwiceBatchNorm(_TrainingBatchNorm):
    """The second derivative from the kernels of the first alone.

    With M values per channel, x^ = r (x - mean) the normalised input and P(v) = v - sum(v) / M - x^ sum(v x^) / M, the
    backward pass is dx = weight r P(dy), where P is symmetric. With a the gradient with respect to dx, the second
    derivative takes two calls of the backward kernel, one for r P(dy) and one for r P(a).
    """

    def normalised(self, x: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var, self.momentum, self.eps
        return _Normalised.apply(x, self.weight, self.bias, *statistics)


class SyncedBatchNorm(_TrainingBatchNorm):
    """Batch normalisation by the moments of the batches of all processes, which have to be of one size.

    It differs from torch's by rounding alone. Unlike nn.SyncBatchNorm it runs on the CPU too, and can be
    differentiated more than once.
    """

    def normalised(self, x: Tensor) -> Tensor:
        dtype, x = x.dtype, x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        variance, mean = torch.var_mean(x, _not_channels(x), correction=0)
        moments = distributed.gather(torch.stack([mean, variance])[None])  # (size, 2, channels)
        mean = moments[:, 0].mean(0)
        variance = (moments[:, 1] + (moments[:, 0] - mean).square()).mean(0)  # within the parts, and between them
        count = distributed.size() * x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul(_along(x, self.bias - mean * scale), x, _along(x, scale)).to(dtype)


class SharedDropout(nn.Dropout):
    """Dropout that falls on the whole batch as it would in one process.

    All processes draw the same mask from generators in the same state, and each takes its rows. The whole batch is that
    of one process: its clean images, of which each process has `clean` here, then the others.
    """

    clean: int

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        mask = dropout(input.new_ones(distributed.size() * len(input), *input.shape[1:]), self.p)
        clean, others = mask.tensor_split([distributed.size() * self.clean])
        return input * torch.cat([distributed.share(clean), distributed.share(others)])


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
        return *_NormalisedBackward.apply(dy, *ctx.saved_tensors, ctx.eps), None, None, None, None


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
        fixed = x, torch.ones_like(weight), None, None, mean, inverse_std, True, ctx.eps, [True, True, False]
        rp_a, a_xhat, _ = _norm_backward(a, *fixed)
        rp_dy, _, _ = _norm_backward(dy, *fixed)
        to_gamma = (a * rp_dy).sum(_not_channels(x))
        scale = -weight * inverse_std * (weight.numel() / x.numel())  # -weight r / M
        slope = scale * to_gamma * inverse_std  # of x^ = r (x - mean), as a function of x
        on_x = torch.addcmul(_along(x, -slope * mean), x, _along(x, slope))
        on_x.addcmul_(rp_a, _along(x, scale * dy_xhat)).addcmul_(rp_dy, _along(x, scale * a_xhat + to_weight))
        on_dy = rp_a.mul_(_along(x, weight)).addcmul_(x, _along(x, to_weight * inverse_std))
        on_dy.add_(_along(x, to_bias - to_weight * inverse_std * mean))
        return on_dy, on_x, to_gamma, None, None, None


def _not_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def _along(x: Tensor, values: Tensor) -> Tensor:
    """Values (C,) of the channels, to compute with `x` (N, C, ...)."""
    return values.view([1, -1] + [1] * (x.ndim - 2))
