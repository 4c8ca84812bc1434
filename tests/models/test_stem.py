import copy
from itertools import product

import pytest
import torch
from torch import nn

from reid import models
from reid.models.stem import Stem, quicken
from reid.models.victim import Victim

SHAPES = [
    (kernel, stride, padding, size)
    for kernel, stride, padding, size in product(
        (7, 8, 16), (2, 3, 4, 16), (0, 1, 3, 6), ((16, 18), (23, 17), (80, 40))
    )
    if padding < kernel <= min(size) + 2 * padding
]


def pair(convolution):
    quick = nn.Sequential(copy.deepcopy(convolution))
    quicken(quick)
    assert type(quick[0]) is Stem
    return convolution, quick[0]


def gradients(layer, images, double):
    images = images.clone().requires_grad_()
    outputs = layer(images).square().sum()
    first = torch.autograd.grad(outputs, [images, *layer.parameters()], create_graph=double)
    if not double:
        return [outputs, *first]
    return torch.autograd.grad(sum(each.square().sum() for each in first), [images, *layer.parameters()])


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), SHAPES)
def test_gradients_by_images_and_weights_are_those_of_torch(kernel, stride, padding, size):
    torch.manual_seed(0)
    plain, quick = pair(nn.Conv2d(3, 5, kernel, stride, padding))
    images = torch.rand(2, 3, *size)
    for one, other in zip(gradients(plain, images, False), gradients(quick, images, False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_those_of_torch():
    torch.manual_seed(0)
    plain, quick = pair(nn.Conv2d(3, 5, 7, 2, 3, bias=False))
    images = torch.rand(2, 3, 16, 18)
    for one, other in zip(gradients(plain, images, True), gradients(quick, images, True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_bfloat16_has_the_outputs_of_torch_and_gradients_near_its():
    torch.manual_seed(0)
    plain, quick = pair(nn.Conv2d(3, 16, 7, 2, 3))
    images = torch.rand(2, 3, 32, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, actual = (gradients(layer, images, False) for layer in (plain, quick))
    assert torch.equal(expected[0], actual[0])
    for one, other in zip(expected, actual, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02 * float(one.detach().abs().max()))


def test_without_gradients_by_images_it_is_the_convolution_of_torch(monkeypatch):
    plain, quick = pair(nn.Conv2d(3, 5, 7, 2, 3))
    monkeypatch.setattr("reid.models.stem._Convolution", None)
    images = torch.rand(2, 3, 16, 18)
    assert torch.equal(plain(images), quick(images))
    quick(images).sum().backward()
    with torch.no_grad():
        assert torch.equal(plain(images), quick(images.requires_grad_()))


@pytest.mark.parametrize("images", [torch.rand(3, 16, 18), torch.rand(2, 3, 16, 18, dtype=torch.float64)])
def test_what_no_batch_of_floats_is_goes_through_torch(images):
    plain, quick = pair(nn.Conv2d(3, 5, 7, 2, 3).to(images.dtype))
    for one, other in zip(gradients(plain, images, False), gradients(quick, images, False), strict=True):
        assert torch.equal(one, other)


def test_each_image_can_have_a_gradient_of_its_own():
    torch.manual_seed(0)
    plain, quick = pair(nn.Conv2d(3, 5, 7, 2, 3))
    images = torch.rand(4, 1, 3, 16, 18)
    expected, actual = (
        torch.func.vmap(torch.func.grad(lambda image, layer=layer: layer(image).square().sum()))(images)
        for layer in (plain, quick)
    )
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 8, 7, 1, 3),
        nn.Conv2d(16, 8, 7, 2, 3),
        nn.Conv2d(3, 3, 7, 2, 3, groups=3),
        nn.Conv2d(3, 8, (7, 9), 2, 3),
        nn.Conv2d(3, 8, 7, 2, 3, padding_mode="reflect"),
        nn.Conv2d(3, 8, 7, 2, 3, dilation=2),
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.Conv2d(3, 8, 7, 2, 7),
        nn.Conv2d(3, 8, 7, 2, "valid"),
        nn.ConvTranspose2d(3, 8, 7, 2, 3),
    ],
)
def test_other_layers_stay_as_they_are(layer):
    kind = type(layer)
    quicken(nn.Sequential(layer))
    assert type(layer) is kind


def test_victims_and_networks_in_training_have_it(small):
    assert type(small.base.conv1) is Stem
    assert type(Victim(small).model.base.conv1) is Stem
    other = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert type(Victim(other).model[0]) is Stem
    assert type(other[0]) is nn.Conv2d
    assert list(models.create("resnet10", 2).state_dict()) == list(small.state_dict())
