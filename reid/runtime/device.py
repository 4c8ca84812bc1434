"""Where and how precisely networks run. Metrics and losses stay in float32 whatever is chosen here."""

import contextlib
import ctypes
import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from reid.errors import UsageError
from reid.runtime import distributed

logger = logging.getLogger(__name__)

PRECISIONS = ("auto", "fp32", "bf16")
DEVICE_TYPES = ("cpu", "cuda", "mps")
# Images that are no higher or no wider are not trained on in bf16 on the CPU. A ResNet's last 3 x 3 convolution with
# stride 2 gets maps of a sixteenth of their size. With AVX512-BF16 (torch 2.14) the gradient of its weights is another
# each time where those are one place wide, and now and then infinite: it has values in it that nobody wrote.
TOO_SMALL_FOR_BF16 = 16
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


@dataclass(frozen=True)
class Compute:
    """A device and the precision of network forward passes on it."""

    device: torch.device
    precision: str  # "fp32" or "bf16"

    def exact(self) -> "Compute":
        """The same device in fp32: for what measures, whatever trains."""
        return Compute(self.device, "fp32")

    def autocast(self) -> AbstractContextManager:
        """The context in which a network runs: bfloat16 autocast, or nothing for fp32."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.precision == "bf16" else nullcontext()


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on `device`, without a wait where that is safe: from the CPU to CUDA, which has read ordinary memory
    when the call returns; MPS reads it later, and so does the CPU."""
    return tensor.to(device, non_blocking=tensor.device.type == "cpu" and device.type != "mps")


def resolve(device: str = "auto", precision: str = "auto", trained_on: tuple[int, int] | None = None) -> Compute:
    """Turn `--device` and `--precision` into a Compute; of several processes each takes the GPU of its number.

    `trained_on` is the height and width of images where weights are trained: "auto" is fp32 for what is
    TOO_SMALL_FOR_BF16. Raises UsageError for a device that cannot be used.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision} is not one of {', '.join(PRECISIONS)}")
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    processes = distributed.size()
    try:
        resolved = torch.device(automatic if device == "auto" else device)
        if resolved.type not in DEVICE_TYPES:
            raise ValueError("not a device that networks run on")
        if resolved.type == "cuda" and processes > 1:
            if resolved.index is not None:
                problem = f"--device {device} would put all {processes} processes on one GPU"
                raise UsageError(f"{problem}; use --device cuda, and CUDA_VISIBLE_DEVICES to choose the GPUs")
            resolved = torch.device("cuda", distributed.local_rank())
        torch.empty(1, device=resolved)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(f"--device {device} cannot be used on this machine; try --device cpu") from error
    if precision == "auto":
        precision = "bf16" if _has_fast_bf16(resolved) else "fp32"
        if precision == "bf16" and resolved.type == "cpu" and trained_on and min(trained_on) <= TOO_SMALL_FOR_BF16:
            precision = "fp32"
            logger.info("training in fp32: bf16 gradients of %d x %d images cannot be repeated on the CPU", *trained_on)
    return Compute(resolved, precision)


def set_up(compute: Compute) -> Compute:
    """Set up the whole process, for commands: no TF32, repeatable kernels, freed CPU memory kept. Returns `compute`."""
    if compute.device.type == "cuda":
        torch.cuda.set_device(compute.device)
    if compute.device.type == "cpu":
        _keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return compute


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # not public in every torch
    return device.type == "cpu" and supported()


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed tensors: the kernel would clear each page again, a fifth of a step's time."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # TypeError: Windows
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
