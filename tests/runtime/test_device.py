"""Devices and precisions: which are taken, what a process is set up for, how values are sent."""

import ctypes
import logging

import pytest
import torch

from reid import models
from reid.errors import UsageError
from reid.runtime import device, distributed
from reid.runtime.device import send


class Sent:
    """A tensor that tells how it was sent."""

    def __init__(self, device):
        self.device = torch.device(device)

    def to(self, device, non_blocking):
        return device.type, non_blocking


@pytest.mark.parametrize(
    ("source", "target", "waits"), [("cpu", "cuda", False), ("cpu", "mps", True), ("cuda", "cpu", True)]
)
def test_only_a_device_that_reads_later_is_waited_for(source, target, waits):
    assert send(Sent(source), torch.device(target)) == (target, not waits)


def test_devices_and_precisions_are_checked():
    assert device.resolve("cpu", "fp32").precision == "fp32"
    assert device.resolve("cpu", "bf16").autocast().fast_dtype == torch.bfloat16
    for name in ("nonsense", "cuda:77", "meta"):
        with pytest.raises(UsageError, match=f"--device {name} cannot be used on this machine"):
            device.resolve(name)
    with pytest.raises(UsageError, match="--precision fp8"):
        device.resolve("cpu", "fp8")


@pytest.fixture
def bf16(monkeypatch):
    """A CPU on which bf16 is fast."""
    monkeypatch.setattr(device, "_has_fast_bf16", lambda place: place.type == "cpu")


@pytest.mark.parametrize(
    ("size", "precision"),
    [((256, 128), "bf16"), ((64, 32), "bf16"), ((32, 16), "fp32"), ((128, 16), "fp32"), ((16, 64), "fp32")],
)
def test_weights_of_small_images_are_trained_in_fp32(size, precision, bf16, caplog):
    with caplog.at_level(logging.INFO):
        assert device.resolve("cpu", "auto", size).precision == precision
    line = f"training in fp32: bf16 gradients of {size[0]} x {size[1]} images cannot be repeated on the CPU"
    assert caplog.messages == [line] * (precision == "fp32")
    assert device.resolve("cpu", "bf16", size).precision == "bf16", "who asks for it gets it"
    assert device.resolve("cpu").precision == "bf16", "nothing is trained"


@pytest.mark.parametrize("size", [(17, 17), (40, 17), (17, 40)])
def test_from_the_smallest_size_in_bf16_on_gradients_can_be_repeated(size, bf16):
    """Where this processor has it; others compute it in another way."""
    model = models.create("resnet10", 2, seed=0).train().to(memory_format=torch.channels_last)
    images = torch.rand(8, 3, *size, generator=torch.Generator().manual_seed(0))
    convolutions = [module.weight for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    runs = []
    for _ in range(4):
        [torch.full((300_000,), torch.nan) for _ in range(4)]  # memory that is free afterwards, and not of zeros
        with device.resolve("cpu", "auto", size).autocast():
            features = model.features(images)
        runs.append(torch.autograd.grad(features.square().sum(), convolutions))
    for gradients in runs:
        assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(gradients, runs[0], strict=True))


def test_one_gpu_is_not_for_several_processes(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with pytest.raises(UsageError, match=r"--device cuda:1 would put all 2 processes on one GPU; use --device cuda"):
        device.resolve("cuda:1")


@pytest.fixture
def library(monkeypatch):
    """Flags of torch that differ from those of the scripts, and the calls to the C library."""
    calls, before = [], flags()
    set_flags(True, False, True, True)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: type("C", (), {"mallopt": lambda *values: calls.append(values)}))
    yield calls
    set_flags(*before)


def flags():
    cudnn = torch.backends.cudnn
    return cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def set_flags(*values):
    cudnn = torch.backends.cudnn
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = values


def test_a_library_resolves_without_a_change_to_its_process(library):
    device.resolve("cpu")
    assert flags() == (True, False, True, True)
    assert library == []


def test_a_command_sets_its_process_up(library):
    compute = device.resolve("cpu")
    assert device.set_up(compute) is compute
    assert flags() == (False, True, False, False)
    assert library == [(device.M_MMAP_MAX, 0), (device.M_TRIM_THRESHOLD, 2**31 - 1)]


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_a_machine_without_glibc_is_set_up_too(library, monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    device.set_up(device.resolve("cpu"))
    assert flags() == (False, True, False, False)
