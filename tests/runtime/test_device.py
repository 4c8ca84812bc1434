"""Sending values to a device."""

import pytest
import torch

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
