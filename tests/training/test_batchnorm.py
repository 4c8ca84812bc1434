"""Batch normalisation with a fast second derivative equals torch's: values and both derivatives."""

import pytest
import torch
from torch import nn

from reid.training.layers import TwiceBatchNorm, differentiate_twice


def layer_and_input(shape, seed=0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    layer = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(shape[1]).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(shape[1], generator=random))
        layer.bias.copy_(torch.randn(shape[1], generator=random))
    x = torch.randn(shape, generator=random, dtype=dtype)
    return layer, (x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x).requires_grad_()


def fast_layer_and_input(shape):
    layer, x = layer_and_input(shape)
    differentiate_twice(layer)
    return layer, x


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
    fast = derivatives(*fast_layer_and_input(shape))
    for a, b in zip(fast, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_the_second_derivative_agrees_with_finite_differences():
    layer, x = fast_layer_and_input((3, 2, 2, 2))

    def function(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradgradcheck(function, (x, layer.weight, layer.bias))


def test_a_weight_of_zero_has_a_second_derivative():
    layer, x = layer_and_input((6, 3, 2, 2))
    with torch.no_grad():
        layer.weight.zero_()
    expected = derivatives(layer, x)
    differentiate_twice(layer)
    for a, b in zip(derivatives(layer, x), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_running_statistics_follow_as_usual():
    plain, x = layer_and_input((6, 5, 4, 3))
    fast, _ = fast_layer_and_input((6, 5, 4, 3))
    plain(x)
    fast(x)
    assert torch.equal(plain.running_mean, fast.running_mean)
    assert torch.equal(plain.running_var, fast.running_var)
    assert fast.num_batches_tracked == 1


def test_a_network_in_eval_mode_is_left_alone():
    plain, x = layer_and_input((6, 5, 4, 3))
    fast, _ = fast_layer_and_input((6, 5, 4, 3))
    assert torch.equal(fast.eval()(x), plain.eval()(x))
    assert torch.equal(fast.running_mean, plain.running_mean)


def test_layers_keep_their_keys_and_other_layers_their_class():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True))
    keys = list(network.state_dict())
    differentiate_twice(network)
    assert [type(layer) for layer in network] == [nn.Conv2d, TwiceBatchNorm, nn.InstanceNorm2d]
    assert list(network.state_dict()) == keys


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
        differentiate_twice(network)
        fast = second()
    assert (fast - exact).norm() < 1.5 * (usual - exact).norm()
    assert (fast - exact).norm() < 0.1 * exact.norm()
