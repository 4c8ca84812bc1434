"""What the benchmarks compare does the same job."""

import importlib

import pytest
import torch

from benchmarks import run
from benchmarks.attack_step import gathered
from reid.attacks.threat import Threat
from reid.attacks.universal.perturbations import ColorLUT


def test_the_plain_colour_table_gives_the_images_and_gradients_of_ours():
    random = torch.Generator().manual_seed(0)
    noise = ColorLUT(Threat(8 / 255, 0.0)).randomise_(random)
    table, images = noise.xform["xform_params"], torch.rand(2, 3, 6, 4, generator=random, requires_grad=True)
    weight = torch.rand(images.shape, generator=random)
    expected, plain = noise(images), gathered(images, table)
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(plain, [table, images], weight),
        torch.autograd.grad(expected, [table, images], weight),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("subject", run.SUBJECTS)
def test_every_subject_is_a_module_that_can_be_imported(subject):
    assert callable(importlib.import_module(f"benchmarks.{subject}").main)
