"""Layers whose result depends on the whole batch, when each process has only its share of it."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.modules.batchnorm import _BatchNorm

from reid.runtime import distributed


class SyncedBatchNorm(_BatchNorm):
    """Batch normalisation by the moments of the batches of all processes, which have to be of one size.

    It differs from nn.BatchNorm1d and nn.BatchNorm2d by rounding alone. Unlike nn.SyncBatchNorm it runs on the CPU too,
    and can be differentiated more than once.
    """

    num_batches_tracked: Tensor
    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        others = [dim for dim in range(x.ndim) if dim != 1]
        variance, mean = torch.var_mean(x, others, correction=0)
        moments = distributed.gather(torch.stack([mean, variance])[None])  # (size, 2, channels)
        mean = moments[:, 0].mean(0)
        variance = (moments[:, 1] + (moments[:, 0] - mean).square()).mean(0)  # within the parts, and between them
        self._follow(mean.detach(), variance.detach(), distributed.size() * x.numel() // x.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        shape = [1, -1] + [1] * (x.ndim - 2)
        return torch.addcmul((self.bias - mean * scale).view(shape), x, scale.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics, in which the variance is the unbiased one."""
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""


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


def synchronise(network: nn.Module, clean: int) -> None:
    """Make `network` in place one that gives what one process would give for the batches of all, `clean` images each.

    Every other row of a batch comes after those. In one process it stays as it is.
    """
    if distributed.size() == 1:
        return
    distributed.same_(network)
    for layer in network.modules():  # which keep their weights, hooks and places, and compute otherwise from here on
        if isinstance(layer, _BatchNorm):
            layer.__class__ = SyncedBatchNorm
        elif isinstance(layer, nn.Dropout):
            layer.__class__ = SharedDropout
            cast(SharedDropout, layer).clean = clean
