"""Every way to compute a convolution and its derivatives gives what torch gives, for maps and kernels of all shapes."""

import pytest
import torch
from torch import nn

from reid.models import convolution as module
from reid.models.convolution import convolution, input_gradient, output, weight_gradient

SHAPES = [  # kernel, stride, padding, map
    ((3, 3), (1, 1), (1, 1), (3, 2)),
    ((3, 3), (2, 2), (1, 1), (5, 3)),
    ((3, 3), (2, 2), (1, 1), (6, 4)),
    ((1, 1), (2, 2), (0, 0), (5, 3)),
    ((7, 7), (2, 2), (3, 3), (12, 9)),
    ((7, 7), (2, 2), (3, 3), (9, 12)),
    ((7, 7), (4, 4), (2, 2), (13, 10)),
    ((5, 3), (3, 3), (4, 0), (7, 8)),
    ((3, 3), (2, 2), (3, 3), (2, 2)),  # taps that only ever meet the padding
    ((3, 1), (2, 1), (1, 0), (9, 2)),
    ((2, 3), (1, 2), (0, 2), (4, 5)),
    ((1, 1), (1, 1), (1, 1), (2, 3)),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), SHAPES)
@pytest.mark.parametrize("few_places", [0, 10**6])
@pytest.mark.parametrize(("channels", "outputs", "images"), [(3, 5, 4), (34, 8, 2), (3, 5, 0)])
def test_output_and_gradients_are_those_of_torch(
    monkeypatch, kernel, stride, padding, size, few_places, channels, outputs, images
):
    monkeypatch.setattr(module, "FEW_PLACES", few_places)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(images, channels, *size, generator=random, dtype=torch.float64)
    weight = torch.randn(outputs, channels, *kernel, generator=random, dtype=torch.float64)
    bias = torch.randn(outputs, generator=random, dtype=torch.float64)
    y = torch.conv2d(x, weight, bias, stride, padding)
    dy = torch.randn(y.shape, generator=random, dtype=torch.float64)
    how = (stride, padding, (1, 1), False, [0, 0], 1)
    to_x, to_weight, _ = torch.ops.aten.convolution_backward(dy, x, weight, None, *how, [True, True, False])

    torch.testing.assert_close(output(x, weight, bias, how), y, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(input_gradient(dy, x, weight, how), to_x, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weight_gradient(dy, x, weight, how), to_weight, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(3, 2), (9, 6)])
def test_the_layout_in_memory_does_not_matter(layout, size):
    random = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(4, 64, *size, generator=random).contiguous(memory_format=layout) for _ in range(2))
    weight = torch.randn(64, 64, 3, 3, generator=random).contiguous(memory_format=layout)
    how = ((1, 1), (1, 1), (1, 1), False, [0, 0], 1)
    expected = torch.ops.aten.convolution_backward(dy, x, weight, None, *how, [True, True, False])
    found = output(x, weight, None, how), input_gradient(dy, x, weight, how), weight_gradient(dy, x, weight, how)
    for a, b in zip(found, (torch.conv2d(x, weight, None, 1, 1), *expected), strict=False):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item())


@pytest.mark.parametrize("size", [(3, 2), (6, 5)])
@pytest.mark.parametrize("bias", [False, True])
def test_it_can_be_differentiated_twice(size, bias):
    random = torch.Generator().manual_seed(0)
    shapes = [(2, 2, *size), (3, 2, 3, 3)] + [(3,)] * bias
    given = [torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def function(x, weight, bias=None):
        return convolution(x, weight, bias, (1, 1), (1, 1), (1, 1), 1).tanh()

    assert torch.autograd.gradcheck(function, given)
    assert torch.autograd.gradgradcheck(function, given)


@pytest.mark.parametrize("learnt", [{"x"}, {"weight"}, {"bias"}, {"x", "bias"}, {"weight", "bias"}])
def test_what_is_frozen_gets_no_gradient_and_costs_none(monkeypatch, learnt):
    computed = []
    for name, function in (("x", input_gradient), ("weight", weight_gradient)):
        monkeypatch.setattr(module, function.__name__, lambda *args, n=name, f=function: computed.append(n) or f(*args))
    values = {"x": torch.rand(2, 3, 4, 4), "weight": torch.rand(5, 3, 3, 3), "bias": torch.rand(5)}
    for name, value in values.items():
        value.requires_grad_(name in learnt)
    convolution(*values.values(), (1, 1), (1, 1), (1, 1), 1).square().sum().backward()
    assert {name for name, value in values.items() if value.grad is not None} == learnt
    assert set(computed) == learnt - {"bias"}


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (9, 6)])
def test_the_output_may_be_written_to(size):
    weight = torch.rand(2, 2, 3, 3, requires_grad=True)
    y = convolution(torch.rand(4, 2, *size), weight, None, (1, 1), (1, 1), (1, 1), 1)
    assert y.relu_().sum().backward() is None


@pytest.mark.parametrize(
    ("dtype", "groups", "dilation"), [(torch.bfloat16, 1, 1), (torch.float64, 2, 1), (torch.float64, 1, 2)]
)
def test_what_has_no_kernel_here_is_left_to_torch(dtype, groups, dilation):
    layer = nn.Conv2d(4, 6, 3, padding=1, groups=groups, dilation=dilation, dtype=dtype)
    x = torch.rand(2, 4, 4, 4, dtype=dtype)
    found = convolution(x, layer.weight, layer.bias, *(layer.stride, layer.padding, layer.dilation, layer.groups))
    assert torch.equal(found, layer(x))
