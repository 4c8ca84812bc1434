"""The inner step of the defence: the released numbers, and gradients through it."""

from pathlib import Path

import numpy as np
import torch

from reid.defenses.inner import adam_step

GOLDEN = Path(__file__).parents[1] / "data" / "inner_adam_step.npz"


def test_the_step_is_the_released_one():
    golden = np.load(GOLDEN)
    parameter, gradient = torch.from_numpy(golden["parameter"]), torch.from_numpy(golden["gradient"])
    moved = adam_step({"w": parameter}, {"w": gradient}, {"w": float(golden["lr"])}, float(golden["weight_decay"]))
    assert torch.allclose(moved["w"], torch.from_numpy(golden["updated"]), atol=1e-6, rtol=0)
    assert torch.equal(parameter, torch.from_numpy(golden["parameter"]))


def test_gradients_reach_the_parameters_and_the_gradients_even_at_zero():
    parameter = torch.randn(5, dtype=torch.float64, requires_grad=True)
    gradient = torch.tensor([0.0, 1e-3, -2.0, 0.5, 1e-6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p, g: adam_step({"w": p}, {"w": g}, {"w": 0.01}, weight_decay=0.1)["w"], (parameter, gradient), atol=1e-4
    )


def test_each_parameter_moves_at_its_own_rate():
    parameters = {"body": torch.ones(3), "head": torch.ones(3)}
    gradients = {name: torch.full((3,), 2.0) for name in parameters}
    moved = adam_step(parameters, gradients, {"body": 0.01, "head": 0.03}, weight_decay=0.0)
    assert torch.allclose(1 - moved["body"], torch.full((3,), 0.01), rtol=1e-4, atol=0)
    assert torch.allclose(1 - moved["head"], torch.full((3,), 0.03), rtol=1e-4, atol=0)


def test_a_parameter_without_a_gradient_is_left_alone_weight_decay_included():
    parameters = {"used": torch.ones(3), "unused": torch.ones(3)}
    moved = adam_step(parameters, {"used": torch.ones(3)}, {"used": 0.1, "unused": 0.1}, weight_decay=0.5)
    assert moved["unused"] is parameters["unused"]
    assert list(moved) == ["used", "unused"]
    assert not torch.equal(moved["used"], parameters["used"])
