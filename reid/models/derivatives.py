"""Convolution and batch normalisation whose derivatives are faster than torch's.

All are written with built-in operators, those of the second derivative with the kernels of the first alone.
- Convolution y = x * w, on a CPU: the gradient with respect to w is a product of dy and patches of x. The library's
  kernel takes up to twice as long. (Zen 3, oneDNN 3.13; `python -m benchmarks.weight_gradient`.)
- Its second derivative: it is bilinear. With a and c the gradients with respect to dx and dw, those with respect to dy
  are a * w + x * c, and those with respect to x and w are the first derivative's at input a and weight c.
- Batch normalisation, with M values per channel, x^ = r (x - mean) the normalised input and
  P(v) = v - sum(v) / M - x^ sum(v x^) / M, has the backward pass dx = weight r P(dy), where P is symmetric. Its second
  derivative takes two calls of the backward kernel, one for r P(dy) and one for r P(a).
"""

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm, pad
from torch.overrides import TorchFunctionMode

SIGNATURE = inspect.signature(batch_norm)
PATCHES = 2**21  # values that are copied for one product: a few megabytes
ARGUMENTS = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")
_norm_backward = torch.ops.aten.native_batch_norm_backward
_conv_backward = torch.ops.aten.convolution_backward


class FastDerivatives(TorchFunctionMode):
    """Inside this context, two-dimensional convolution without bias has the same values and a faster derivative on a
    CPU. With `second`, it and batch normalisation in training mode have a faster second derivative, on every device."""

    def __init__(self, second: bool = False) -> None:
        super().__init__()
        self._second = second

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is batch_norm and self._second:
            bound = SIGNATURE.bind(*args, **kwargs).arguments
            if bound.pop("training", False):
                return _BatchNorm.apply(*(bound[name] for name in ARGUMENTS))
        if func is torch.conv2d and not kwargs and len(args) == 7:
            x, weight, bias, stride, padding, dilation, groups = args
            if bias is None and not isinstance(padding, str) and (self._second or x.device.type == "cpu"):
                if torch.is_autocast_enabled(x.device.type):
                    dtype = torch.get_autocast_dtype(x.device.type)
                    x, weight = x.to(dtype), weight.to(dtype)
                return _Convolution.apply(x, weight, (stride, padding, dilation, False, [0, 0], groups))
        return func(*args, **kwargs)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return torch.convolution(x, weight, None, *how)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return *_ConvolutionBackward.apply(dy, *ctx.saved_tensors, ctx.how, ctx.needs_input_grad[0]), None


class _ConvolutionBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, how: tuple, to_input: bool
    ) -> tuple[Tensor | None, Tensor]:
        ctx.save_for_backward(dy, x, weight)
        ctx.set_materialize_grads(False)
        ctx.how = how
        return _input_gradient(dy, x, weight, how) if to_input else None, weight_gradient(dy, x, weight, how)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, a: Tensor | None, c: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients with respect to dy, x and weight of <a, dx> + <c, dweight>."""
        dy, x, weight = ctx.saved_tensors
        on_dy = None if a is None else torch.convolution(a, weight, None, *ctx.how)
        if c is not None:
            other = torch.convolution(x, c, None, *ctx.how)
            on_dy = other if on_dy is None else on_dy.add_(other)
        on_x = _input_gradient(dy, x, c, ctx.how) if c is not None and ctx.needs_input_grad[1] else None
        on_weight = None if a is None else weight_gradient(dy, a, weight, ctx.how)
        return on_dy, on_x, on_weight, None, None


def _input_gradient(dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    """dx of <dy, x * weight>; of x only the shape matters."""
    return _conv_backward(dy, x, weight, None, *how, [True, False, False])[0]


def weight_gradient(dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    """dweight (O, C, h, w) of <dy, x * weight>; of the weight only the shape matters."""
    stride, padding, dilation, *_, groups = how
    channels, (height, width) = x.shape[1], weight.shape[2:]
    few = channels < 32 or (height * width == 1 and min(channels, dy.shape[1]) < 128)  # the library is faster with them
    other = dy.device.type != "cpu" or dy.dtype not in (torch.float32, torch.float64)
    if few or other or groups > 1 or tuple(dilation) != (1, 1):
        return _conv_backward(dy, x, weight, None, *how, [False, True, False])[1]
    padded = pad(x, (padding[1], padding[1], padding[0], padding[0])).contiguous(memory_format=torch.channels_last)
    places = dy.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    image, _, row, column = padded.stride()
    patches = padded.as_strided(  # (N, rows, columns, h, w, C), none of them copied yet
        (*places.shape[:3], height, width, channels), (image, row * stride[0], column * stride[1], row, column, 1)
    )
    size = height * width * channels
    images = max(1, PATCHES // (places.shape[1] * places.shape[2] * size))
    total = dy.new_zeros(dy.shape[1], size)
    for outputs, inputs in zip(places.split(images), patches.split(images), strict=True):
        total.addmm_(outputs.reshape(-1, dy.shape[1]).T, inputs.reshape(-1, size))
    return total.view(-1, height, width, channels).permute(0, 3, 1, 2)


class _BatchNorm(torch.autograd.Function):
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
        return *_BatchNormBackward.apply(dy, x, weight, mean, inverse_std, ctx.eps), None, None, None, None


class _BatchNormBackward(torch.autograd.Function):
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
