"""What images must be. A network takes others without a word, and only scores badly on them."""

import torch
from torch import Tensor, nn

from reid.errors import UsageError

TOLERANCE = 1e-3  # of the range, for what rounding and resizing add


class ImageCheck(nn.Module):
    """Gives back images (N, 3, H, W), floating, in [0, 1]. Raises UsageError, with the remedy, for anything else.

    The range is read of every batch on the CPU. Elsewhere that would wait for the device each time: there it is read
    once, of the first batch. Under vmap, and where code is traced or compiled, there are no values to read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waited = False

    def forward(self, images: Tensor) -> Tensor:
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return images
        if problem := _form(images):
            raise UsageError(f"images are float (N, 3, H, W) in [0, 1], not {problem}")
        elsewhere = images.device.type != "cpu"
        if images.numel() and not (elsewhere and self._waited):
            self._waited = self._waited or elsewhere
            if problem := _range(images):
                raise UsageError(f"images are in [0, 1], not {problem}")
        return images


def _form(images: Tensor) -> str:
    """What is wrong with type, shape and dtype, and the remedy; "" where nothing is."""
    if not isinstance(images, Tensor):
        return f"{type(images).__name__}; give a torch tensor"
    kind, shape = f"{images.dtype} {tuple(images.shape)}", images.shape
    if images.ndim == 3:
        return f"{kind}, which has no batch dimension; give images[None]"
    if images.ndim == 4 and shape[1] != 3 and shape[3] == 3:
        return f"{kind}, with the channels last; give images.permute(0, 3, 1, 2)"
    if images.ndim != 4 or shape[1] != 3:
        return f"{kind}; give RGB, three channels"
    if not images.is_floating_point():
        seen = f" in [{images.min()}, {images.max()}]" if images.numel() and not images.is_complex() else ""
        return f"{kind}{seen}; divide 8-bit values by 255 (images.float() / 255)"
    return ""


def _range(images: Tensor) -> str:
    """What is wrong with the values, and the remedy; "" where nothing is, or nothing can be read."""
    values = images.detach()
    try:
        if values.is_contiguous(memory_format=torch.channels_last):
            values = values.permute(0, 2, 3, 1)  # as they lie in memory: six times as fast
        low, high = torch.stack(values.aminmax()).tolist()  # one wait
    except RuntimeError:  # vmap, fake tensors
        return ""
    if low >= -TOLERANCE and high <= 1 + TOLERANCE:
        return ""
    remedy = "undo their normalisation (images * std + mean)"
    if not low > -torch.inf or not high < torch.inf:
        remedy = "find where values that are no finite numbers come from"
    elif low >= -0.25 and high <= 1.25:
        remedy = "clamp what a filter added: images.clamp(0, 1)"
    elif low >= 0:
        remedy = "divide 8-bit values by 255"
    return f"[{low:.4g}, {high:.4g}]; {remedy}"
