"""What the benchmarks compare does the same job, and what they count is there."""

import pytest
import torch

from benchmarks import colour, measure
from benchmarks.memory_plan import LiveBytes
from reid import models
from reid.attacks.threat import Threat
from reid.attacks.universal.perturbations import ColorLUT


@pytest.mark.parametrize("kind", colour.LITERAL)
def test_every_colour_table_gives_the_images_and_gradients_of_ours(kind):
    random = torch.Generator().manual_seed(0)
    noise = ColorLUT(Threat(8 / 255, 0.0)).randomise_(random)
    table, images = noise.xform["xform_params"], torch.rand(2, 3, 6, 4, generator=random, requires_grad=True)
    weight = torch.rand(images.shape, generator=random)
    expected, found = noise(images), colour.LITERAL[kind](images, table)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(found, [table, images], weight),
        torch.autograd.grad(expected, [table, images], weight),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_live_bytes_are_those_of_storages_until_they_are_freed():
    with LiveBytes() as held:
        kept = torch.zeros(100)
        view = kept[:10].view(2, 5)
        assert held.live == 400
        dropped = kept + 1
        del dropped
        assert (held.live, held.peak) == (400, 800)
        del kept
        assert held.live == 400  # the view still holds it
        del view
        assert (held.live, held.peak) == (0, 800)


def test_the_arithmetic_of_a_network_is_counted_whole():
    """Forward and backward of a convolution, the gradient of its input left out, and of a linear layer."""
    model = models.create("resnet10", 4, seed=0)
    images = torch.rand(2, 3, 64, 32)
    once = measure.counted(lambda: model(images))
    stem = 2 * 2 * 32 * 16 * 64 * 3 * 49
    assert measure.counted(lambda: model(images)[1].sum().backward()) == 3 * once - stem
