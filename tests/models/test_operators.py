"""Convolution and batch normalisation with fast second derivatives equal torch's: values and both derivatives."""

import pytest
import torch
from torch import nn

from reid import models
from reid.models import convolution as module
from reid.models.operators import FastOperators


def layer_and_input(shape, seed=0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    layer = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(shape[1]).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(shape[1], generator=random))
        layer.bias.copy_(torch.randn(shape[1], generator=random))
    x = torch.randn(shape, generator=random, dtype=dtype)
    return layer, (x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x).requires_grad_()


def derivatives(layer, x, seed=1):
    """Output, first derivatives, and the gradients of a random function of all of these."""
    random = torch.Generator().manual_seed(seed)
    y = layer(x).relu().square()
    inputs = [x, layer.weight, layer.bias]
    first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
    mixed = sum((g * torch.randn(g.shape, generator=random, dtype=g.dtype)).sum() for g in (y, *first))
    return [y, *first, *torch.autograd.grad(mixed, inputs)]


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (2, 3, 1, 2), (8, 7)])
def test_values_and_both_derivatives_are_those_of_torch(shape):
    expected = derivatives(*layer_and_input(shape))
    with FastOperators(second=True):
        found = derivatives(*layer_and_input(shape))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_the_second_derivative_agrees_with_finite_differences():
    layer, x = layer_and_input((3, 2, 2, 2))

    def function(x, weight, bias):
        with FastOperators(second=True):
            return nn.functional.batch_norm(x, None, None, weight, bias, training=True)

    assert torch.autograd.gradgradcheck(function, (x, layer.weight, layer.bias))


def test_a_weight_of_zero_has_a_second_derivative():
    layer, x = layer_and_input((6, 3, 2, 2))
    with torch.no_grad():
        layer.weight.zero_()
    expected = derivatives(layer, x)
    with FastOperators(second=True):
        found = derivatives(layer, x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_running_statistics_follow_as_usual():
    plain, x = layer_and_input((6, 5, 4, 3))
    fast, _ = layer_and_input((6, 5, 4, 3))
    plain(x)
    with FastOperators(second=True):
        fast(x)
    assert torch.equal(plain.running_mean, fast.running_mean)
    assert torch.equal(plain.running_var, fast.running_var)
    assert fast.num_batches_tracked == 1


def test_a_network_in_eval_mode_is_left_alone():
    layer, x = layer_and_input((6, 5, 4, 3))
    layer.eval()
    with FastOperators(second=True):
        assert torch.equal(
            layer(x), torch.batch_norm(x, *layer.parameters(), *list(layer.buffers())[:2], False, 0.1, 1e-5, False)
        )


def test_the_context_is_what_makes_the_difference():
    layer, x = layer_and_input((6, 5, 4, 3))
    assert "NativeBatchNorm" in type(layer(x).grad_fn).__name__ or "CudnnBatchNorm" in type(layer(x).grad_fn).__name__
    with FastOperators(second=True):
        assert type(layer(x).grad_fn).__name__ == "_BatchNormBackward"


class TestConvolution:
    @pytest.mark.parametrize(
        ("kernel", "stride", "padding", "groups"),
        [(1, 1, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (1, 2, 0, 1), (3, 1, 1, 2)],
    )
    def test_values_and_both_derivatives_are_those_of_torch(self, kernel, stride, padding, groups):
        random = torch.Generator().manual_seed(0)
        layer = nn.Conv2d(4, 6, kernel, stride, padding, groups=groups, bias=False).double()
        x = torch.randn(3, 4, 7, 5, generator=random, dtype=torch.float64, requires_grad=True)

        def found():
            y = layer(x).tanh()
            first = torch.autograd.grad(y.square().sum(), [x, layer.weight], create_graph=True)
            mixed = sum(g.pow(3).sum() for g in (y, *first))
            return [y, *first, *torch.autograd.grad(mixed, [x, layer.weight])]

        expected = found()
        with FastOperators(second=True):
            fast = found()
            assert type(layer(x).grad_fn).__name__ == "_ConvolutionBackward"
        for a, b in zip(fast, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize(
        ("channels", "kernel", "stride", "padding"),
        [(32, 3, 1, 1), (40, 3, 2, 1), (128, 1, 2, 0), (128, 1, 1, 0), (32, (3, 1), (2, 1), (1, 0)), (8, 3, 1, 1)],
    )
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("patches", [1, 2**21])
    def test_the_gradient_of_the_weight_is_that_of_torch(
        self, monkeypatch, channels, kernel, stride, padding, layout, patches
    ):
        monkeypatch.setattr(module, "PATCHES", patches)
        monkeypatch.setattr(module, "FEW_PLACES", 0)
        random = torch.Generator().manual_seed(0)
        layer = nn.Conv2d(channels, 128, kernel, stride, padding, bias=False)
        x = torch.randn(5, channels, 9, 6, generator=random).contiguous(memory_format=layout).requires_grad_()

        def gradients():
            return torch.autograd.grad(layer(x).tanh().square().sum(), [x, layer.weight])

        expected = gradients()
        with FastOperators():
            found = gradients()
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * b.abs().max().item())

    @pytest.mark.parametrize(
        "call",
        [
            lambda x, w: torch.conv2d(x[0], w, None, (1, 1), (0, 0), (1, 1), 1),
            lambda x, w: torch.conv2d(x, w, None, 2, 1, 1, 1),
            lambda x, w: torch.conv2d(x, w, None, (1, 1), "same", (1, 1), 1),
            lambda x, w: torch.conv2d(x, w, stride=2),
        ],
    )
    def test_other_ways_to_call_it_are_left_to_torch(self, call):
        x, weight = torch.rand(2, 3, 5, 5), torch.rand(4, 3, 3, 3)
        with FastOperators():
            found = call(x, weight)
        assert torch.equal(found, call(x, weight))

    @pytest.mark.filterwarnings("ignore::FutureWarning")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_network_can_be_traced_and_saved(self, tmp_path):
        model, images = models.create("resnet10", 4, seed=0).eval(), torch.rand(2, 3, 64, 32)
        torch.jit.trace(model, images).save(str(tmp_path / "traced.pt"))
        for found, expected in zip(torch.jit.load(str(tmp_path / "traced.pt"))(images), model(images), strict=True):
            torch.testing.assert_close(found, expected)

    def test_an_input_that_needs_no_gradient_gets_none(self):
        layer = nn.Conv2d(3, 4, 3, bias=False).double()
        x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
        results = []
        for _ in range(2):
            with FastOperators(second=True):
                (first,) = torch.autograd.grad(layer(x).pow(3).sum(), layer.weight, create_graph=True)
                results.append(torch.autograd.grad(first.square().sum(), layer.weight)[0])
        (first,) = torch.autograd.grad(layer(x).pow(3).sum(), layer.weight, create_graph=True)
        torch.testing.assert_close(results[0], torch.autograd.grad(first.square().sum(), layer.weight)[0])


def test_under_autocast_it_is_as_close_to_float32_as_torch_is():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, bias=False)
    )
    x = torch.randn(4, 3, 9, 9)

    def second():
        first = torch.autograd.grad(network(x).float().square().mean(), list(network.parameters()), create_graph=True)
        found = torch.autograd.grad(sum(g.square().sum() for g in first), list(network.parameters()))
        return torch.cat([g.flatten() for g in found])

    exact = second()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        usual = second()
        with FastOperators(second=True):
            fast = second()
    assert (fast - exact).norm() < 1.5 * (usual - exact).norm()
    assert (fast - exact).norm() < 0.1 * exact.norm()
