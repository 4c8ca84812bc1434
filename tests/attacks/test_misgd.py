import io

import pytest
import torch

from reid import UsageError
from reid.attacks import MISGD


def test_equals_the_released_code(golden):
    data = golden("misgd")
    parameter = torch.zeros_like(data["gradients"][0], requires_grad=True)
    optimizer = MISGD([parameter], lr=data["lr"].item(), momentum=data["momentum"].item())
    for gradient, expected in zip(data["gradients"], data["parameters_after_each_step"], strict=True):
        parameter.grad = gradient
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=1e-7)


def test_each_tensor_is_normalised_by_itself():
    small, large = (torch.zeros(2, requires_grad=True) for _ in range(2))
    optimizer = MISGD([small, large], lr=0.1)
    small.grad, large.grad = torch.tensor([1e-6, -1e-6]), torch.tensor([1e6, -1e6])
    optimizer.step()
    assert small.tolist() == large.tolist() == pytest.approx([-0.1, 0.1])


def test_momentum_weighs_directions_not_lengths():
    parameter = torch.zeros(2, requires_grad=True)
    optimizer = MISGD([parameter], lr=1.0, momentum=1.0)
    for gradient in ([3.0, 1.0], [-100.0, 1000.0], [-100.0, 1000.0]):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    accumulated = [0.75 - 2 / 11, 0.25 + 20 / 11]
    assert optimizer.state[parameter]["accumulator"].tolist() == pytest.approx(accumulated)
    assert parameter.tolist() == [-3.0, -3.0]


def test_without_momentum_the_past_is_forgotten():
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = MISGD([parameter], lr=1.0, momentum=0.0)
    for gradient in (5.0, -1.0):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
    assert parameter.item() == 0.0


def test_a_vanishing_gradient_adds_nothing_and_does_no_harm():
    parameter = torch.ones(3, requires_grad=True)
    optimizer = MISGD([parameter], lr=0.1)
    parameter.grad = torch.zeros(3)
    optimizer.step()
    assert parameter.tolist() == [1.0, 1.0, 1.0]
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert parameter.tolist() == pytest.approx([0.9, 0.9, 0.9])


def test_groups_have_their_own_step_and_a_missing_gradient_is_skipped():
    a, b, c = (torch.zeros(1, requires_grad=True) for _ in range(3))
    optimizer = MISGD([{"params": [a], "lr": 0.1}, {"params": [b, c], "lr": 0.2}], lr=0.0)
    a.grad = b.grad = torch.ones(1)
    optimizer.step()
    assert [a.item(), b.item(), c.item()] == pytest.approx([-0.1, -0.2, 0.0])


def test_a_saved_state_goes_on_exactly():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 4, 3, generator=generator)

    def steps(parameter, optimizer, gradients):
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()

    straight = torch.zeros(4, 3, requires_grad=True)
    steps(straight, MISGD([straight], lr=0.1), gradients)

    first = torch.zeros(4, 3, requires_grad=True)
    optimizer = MISGD([first], lr=0.1)
    steps(first, optimizer, gradients[:3])
    file = io.BytesIO()
    torch.save({"parameter": first.detach(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = saved["parameter"].clone().requires_grad_()
    optimizer = MISGD([second], lr=0.1)
    optimizer.load_state_dict(saved["optimizer"])
    steps(second, optimizer, gradients[3:])
    assert torch.equal(straight, second)


def test_a_closure_is_evaluated():
    parameter = torch.ones(1, requires_grad=True)

    def closure():
        loss = (parameter**2).sum()
        loss.backward()
        return loss.item()

    assert MISGD([parameter], lr=0.5).step(closure) == 1.0
    assert parameter.item() == 0.5


@pytest.mark.parametrize(("lr", "momentum"), [(-0.1, 1.0), (0.1, -1.0), (float("nan"), 1.0)])
def test_negative_settings_are_refused(lr, momentum):
    with pytest.raises(UsageError, match="at least 0"):
        MISGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=momentum)
