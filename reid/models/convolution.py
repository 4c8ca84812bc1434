"""Two-dimensional convolution y = x * w with its first and second derivatives, on a CPU the faster of several ways.

The library's kernels are the fastest for the output and the input's gradient on large maps. For the rest there are
others here, of built-in operators alone (Zen 3, oneDNN 3.13: `python -m benchmarks.convolution`):
- A map of few places: one product of matrices for each tap of the kernel, over the places where that tap meets the map
  and no padding. With a 3 x 3 kernel on 3 x 2 places that is half of the arithmetic.
- The gradient of a weight: a product of dy and patches of x.
- The gradient of an image, through a stem of stride s: a convolution of stride 1 whose channels are the s x s places of
  the image that lie at one place of dy.

Convolution is bilinear: with a and c the gradients with respect to dx and dw, those with respect to dy are
a * w + x * c, and those with respect to x and w are the first derivative's at input a and weight c.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, pixel_shuffle

FEW_PLACES = 16
PATCHES = 2**21  # values that are copied for one product: a few megabytes
_library_backward = torch.ops.aten.convolution_backward


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    """What `torch.conv2d` gives for the same arguments, to rounding; stride, padding and dilation are pairs.

    It can be differentiated twice with respect to x, weight and bias.
    """
    return _Convolution.apply(x, weight, bias, (stride, padding, dilation, False, [0, 0], groups))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return output(x, weight, bias, how)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        to_x, to_weight, to_bias, _ = ctx.needs_input_grad
        found = _ConvolutionBackward.apply(dy, *ctx.saved_tensors, ctx.how, to_x, to_weight)
        return *found, dy.sum((0, 2, 3)) if to_bias else None, None


class _ConvolutionBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, how: tuple, to_x: bool, to_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(dy, x, weight)
        ctx.set_materialize_grads(False)
        ctx.how = how
        on_x = input_gradient(dy, x, weight, how) if to_x else None
        return on_x, weight_gradient(dy, x, weight, how) if to_weight else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, a: Tensor | None, c: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients with respect to dy, x and weight of <a, dx> + <c, dweight>."""
        dy, x, weight = ctx.saved_tensors
        to_dy, to_x, to_weight, *_ = ctx.needs_input_grad
        on_dy = on_x = on_weight = None
        if a is not None:
            on_dy = output(a, weight, None, ctx.how) if to_dy else None
            on_weight = weight_gradient(dy, a, weight, ctx.how) if to_weight else None
        if c is not None:
            on_x = input_gradient(dy, x, c, ctx.how) if to_x else None
            if to_dy:
                other = output(x, c, None, ctx.how)
                on_dy = other if on_dy is None else on_dy.add_(other)
        return on_dy, on_x, on_weight, None, None, None


def output(x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple) -> Tensor:
    """y (N, O, h, w) = x * weight + bias."""
    stride, padding, *_ = how
    places = [
        (size + 2 * beside - taps) // step + 1
        for size, beside, taps, step in zip(x.shape[2:], padding, weight.shape[2:], stride, strict=True)
    ]
    if not (_own(x, how) and _few(places)):
        return torch.convolution(x, weight, bias, *how)
    y = x.new_zeros(*places, len(x), len(weight))
    if bias is not None:
        y += bias
    source, kernel = _places_first(x), _taps_first(weight)
    for tap, there, here in _taps(weight, source.shape, y.shape, how):
        part = source[here]
        y[there] += (part.flatten(0, 2) @ kernel[tap].T).unflatten(0, part.shape[:3])
    return _channels_last(y)


def input_gradient(dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    """dx (N, C, H, W) of <dy, x * weight>; of x only the shape matters."""
    if _own(dy, how) and _few(dy.shape[2:]):
        dx = dy.new_zeros(*x.shape[2:], *x.shape[:2])
        source, kernel = _places_first(dy), _taps_first(weight)
        for tap, there, here in _taps(weight, dx.shape, source.shape, how):
            part = source[there]
            dx[here] += (part.flatten(0, 2) @ kernel[tap]).unflatten(0, part.shape[:3])
        return _channels_last(dx)
    (stride, other), padding, *_ = how
    inside = all(margin < size for margin, size in zip(padding, weight.shape[2:], strict=True))
    if _own(dy, how) and x.shape[1] < 8 and stride == other > 1 and inside:
        return _image_gradient(dy, x, weight, how)
    return _library_backward(dy, x, weight, None, *how, [True, False, False])[0]


def weight_gradient(dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    """dweight (O, C, h, w) of <dy, x * weight>; of the weight only the shape matters."""
    size = weight.shape[2:].numel()
    channels = x.shape[1], dy.shape[1]
    if _own(dy, how) and _few(dy.shape[2:]):
        total = dy.new_zeros(channels[1], *weight.shape[2:], channels[0])
        outputs, inputs = _places_first(dy), _places_first(x)
        for (row, column), there, here in _taps(weight, inputs.shape, outputs.shape, how):
            torch.mm(outputs[there].flatten(0, 2).T, inputs[here].flatten(0, 2), out=total[:, row, column])
        return total.permute(0, 3, 1, 2)
    if _own(dy, how) and channels[0] >= 32 and (size > 1 or min(channels) >= 128):  # else the library is faster
        return _product_of_patches(dy, x, weight, how)
    return _library_backward(dy, x, weight, None, *how, [False, True, False])[1]


def _own(values: Tensor, how: tuple) -> bool:
    """Whether the kernels here can do it."""
    _, _, dilation, *_, groups = how
    exact = values.dtype in (torch.float32, torch.float64)
    return values.device.type == "cpu" and exact and groups == 1 and tuple(dilation) == (1, 1)


def _few(places: Sequence[int]) -> bool:
    return 0 < places[0] * places[1] <= FEW_PLACES


def _taps(
    weight: Tensor, inputs: Sequence[int], outputs: Sequence[int], how: tuple
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Each tap that meets the map, the places of the output where it does, and those of the input that it meets.

    `inputs` and `outputs` begin with rows and columns.
    """
    stride, padding, *_ = how
    spans = [
        [(tap, *_span(tap - padding[d], inputs[d], outputs[d], stride[d])) for tap in range(weight.shape[2 + d])]
        for d in (0, 1)
    ]
    for (row, rows, from_rows), (column, columns, from_columns) in product(*spans):
        if rows.start < rows.stop and columns.start < columns.stop:
            yield (row, column), (rows, columns), (from_rows, from_columns)


def _span(offset: int, inputs: int, outputs: int, stride: int) -> tuple[slice, slice]:
    """The outputs i for which the input i * stride + offset is there, and these inputs; along one dimension."""
    first, last = max(0, -(offset // stride)), min(outputs - 1, (inputs - 1 - offset) // stride)
    return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)


def _image_gradient(dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    """dx through a stride s: dx[s i + a] = sum over d of dy[i + d] weight[a + padding - s d], where each a < s becomes
    a channel of its own."""
    (stride, _), padding, *_ = how
    outputs, channels = weight.shape[:2]
    taps, around, beside, shift = [], [], [], []
    for size, margin, places, wanted in zip(weight.shape[2:], padding, dy.shape[2:], x.shape[2:], strict=True):
        before, after = (size - 1 - margin) // stride, -(-margin // stride)  # d is from -before to after
        taps += [before + after + 1]
        around += [stride * after - margin, stride * (before + 1) - size + margin]
        beside += [max(before, -(-wanted // stride) - places + after)]
        shift += [beside[-1] - before]
    kernel = pad(weight, (*around[2:], *around[:2])).reshape(outputs, channels, taps[0], stride, taps[1], stride)
    kernel = kernel.flip(2, 4).permute(1, 3, 5, 0, 2, 4).reshape(-1, outputs, *taps)
    between = torch.convolution(
        dy, kernel.contiguous(memory_format=torch.channels_last), None, (1, 1), beside, (1, 1), False, (0, 0), 1
    )
    dx = pixel_shuffle(between[:, :, shift[0] :, shift[1] :], stride)
    return dx[:, :, : x.shape[2], : x.shape[3]].contiguous(memory_format=torch.channels_last)


def _product_of_patches(dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    stride, padding, *_ = how
    height, width = weight.shape[2:]
    around = (padding[1], padding[1], padding[0], padding[0])
    padded = (pad(x, around) if any(around) else x).contiguous(memory_format=torch.channels_last)
    places = dy.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    image, _, row, column = padded.stride()
    patches = padded.as_strided(  # (N, rows, columns, h, w, C), none of them copied yet
        (*places.shape[:3], height, width, x.shape[1]), (image, row * stride[0], column * stride[1], row, column, 1)
    )
    size = height * width * x.shape[1]
    images = max(1, PATCHES // (places.shape[1] * places.shape[2] * size))
    total = dy.new_zeros(dy.shape[1], size)
    for outputs, inputs in zip(places.split(images), patches.split(images), strict=True):
        total.addmm_(outputs.reshape(-1, dy.shape[1]).T, inputs.reshape(-1, size))
    return total.view(-1, height, width, x.shape[1]).permute(0, 3, 1, 2)


def _places_first(values: Tensor) -> Tensor:
    """(N, C, H, W) as (H, W, N, C)."""
    return values.permute(2, 3, 0, 1).contiguous()


def _channels_last(values: Tensor) -> Tensor:
    """(H, W, N, C) as (N, C, H, W), the channels last in memory; a copy, since autograd lets nobody write to a view."""
    return values.permute(2, 3, 0, 1).clone(memory_format=torch.channels_last)


def _taps_first(weight: Tensor) -> Tensor:
    """(O, C, h, w) as (h, w, O, C), of which every tap goes into a product as it is."""
    return weight.contiguous(memory_format=torch.channels_last).permute(2, 3, 0, 1)
