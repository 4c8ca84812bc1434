"""A strided convolution of images whose gradient by them is faster on the CPU than torch's own.

Torch uses a kernel for many channels, of which images have three, so that the first convolution takes up to a quarter
of the time of a gradient by images. Here that is a convolution of the output's gradient, without a stride, to all
pixels of a stride x stride cell at once. Small kernels gain nothing by it. benchmarks/image_gradient.py measures it.
"""

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

FEW = 4  # channels of images: RGB, and one more
LARGE = 7  # kernels that gain


class Stem(nn.Conv2d):
    """A Conv2d of images: the same outputs, and the same gradients up to rounding. See `quicken`."""

    def forward(self, input: Tensor) -> Tensor:
        wanted = input.requires_grad and torch.is_grad_enabled()
        if not wanted or input.device.type != "cpu" or input.ndim != 4 or input.dtype == torch.float64:
            return super().forward(input)
        images, weight, bias = input, self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            images, weight, bias = images.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype)
        outputs: Tensor = _Convolution.apply(images, weight, bias, self.stride[0], self.padding[0])
        return outputs


def quicken(network: nn.Module) -> None:
    """Make a Stem of each convolution in `network` that gains by it: square, large, strided, of few channels."""
    for layer in network.modules():
        if type(layer) is nn.Conv2d and _is_stem(layer):
            layer.__class__ = Stem


def _is_stem(layer: nn.Conv2d) -> bool:
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    square = all(
        isinstance(two, tuple) and len(set(two)) == 1 for two in (layer.kernel_size, layer.stride, layer.padding)
    )
    large = square and layer.kernel_size[0] >= LARGE and layer.kernel_size[0] > int(layer.padding[0])
    return plain and large and layer.stride[0] > 1 and layer.in_channels <= FEW


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True  # torch.func asks for it

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        return F.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, weight, _, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(images, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        by_images = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_images = _by_images(gradient, weight, ctx.stride, ctx.padding, tuple(images.shape[2:]))
        if ctx.needs_input_grad[1]:
            by_weight = conv2d_weight(images, weight.shape, gradient, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[2]:
            by_bias = gradient.sum(dim=(0, 2, 3))
        return by_images, by_weight, by_bias, None, None


def _by_images(gradient: Tensor, weight: Tensor, stride: int, padding: int, size: tuple[int, int]) -> Tensor:
    """The gradient (N, C, *size) of conv2d(images, weight, stride, padding) by images, from that by its outputs.

    In one dimension, pixel stride * m + r of cell m met tap r + padding - stride * d of the weights in output m + d,
    for all d that have one: for each r a convolution over d, from `least` to `most`.
    """
    taps = weight.shape[-1]
    least, most = ceil((padding + 1 - taps) / stride), (stride - 1 + padding) // stride
    reach, first = most - least + 1, stride * most - padding
    last = reach * stride - first - taps
    # Taps in rows of one stride, that of `most` first: row a, column r is tap stride * a + r - first.
    rows = F.pad(weight, (first, last, first, last)).unflatten(3, (reach, stride)).unflatten(2, (reach, stride))
    kernel = rows.flip(2, 4).permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
    cells = [ceil(side / stride) for side in size]
    margin = [max(-least, many + most - out) for many, out in zip(cells, gradient.shape[2:], strict=True)]
    spread = F.conv2d(gradient, kernel.contiguous(memory_format=torch.channels_last), padding=margin)
    top, left = (each + least for each in margin)
    spread = spread[:, :, top : top + cells[0], left : left + cells[1]]
    return F.pixel_shuffle(spread, stride)[:, :, : size[0], : size[1]]
