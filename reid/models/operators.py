"""The operators that networks run with where torch's own are slower."""

import inspect
from typing import Any

import torch
from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

from reid.models.batchnorm import batch_normalisation
from reid.models.convolution import convolution

SIGNATURE = inspect.signature(batch_norm)
ARGUMENTS = ("input", "weight", "bias", "running_mean", "running_var", "momentum", "eps")


class FastOperators(TorchFunctionMode):
    """Inside this context convolutions on a CPU have the same values, to rounding, from faster kernels.

    With `second`, convolution and batch normalisation in training mode have a faster second derivative on every device.
    Third derivatives, and the transforms of torch.func, need torch's own operators.
    """

    def __init__(self, second: bool = False) -> None:
        super().__init__()
        self._second = second

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is batch_norm and self._second:
            bound = SIGNATURE.bind(*args, **kwargs).arguments
            if bound.pop("training", False):
                return batch_normalisation(*(bound[name] for name in ARGUMENTS))
        if func is torch.conv2d and not kwargs and len(args) == 7:
            x, weight, bias, stride, padding, dilation, groups = args
            wanted = (self._second or x.device.type == "cpu") and not torch.jit.is_tracing()
            if wanted and x.ndim == 4 and all(isinstance(pair, tuple) for pair in (stride, padding, dilation)):
                if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
                    dtype = torch.get_autocast_dtype(x.device.type)
                    x, weight, bias = (None if value is None else value.to(dtype) for value in (x, weight, bias))
                return convolution(x, weight, bias, stride, padding, dilation, groups)
        return func(*args, **kwargs)
