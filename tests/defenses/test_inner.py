"""The inner step of the defence: the released numbers, and gradients through it."""

from pathlib import Path

import numpy as np
import torch

from reid.defenses.inner import adam_step

GOLDEN = Path(__file__).parents[1] / "data" / "inner_adam_step.npz"


def test_the_step_is_the_released_one():
    golden = np.load(GOLDEN)
    parameter, gradient = torch.from_numpy(golden["parameter"]), torch.from_numpy(golden["gradient"])
    moved = adam_step({"w": parameter}, {"w": gradient}, float(golden["lr"]), float(golden["weight_decay"]))
    assert torch.allclose(moved["w"], torch.from_numpy(golden["updated"]), atol=1e-6, rtol=0)
    assert torch.equal(parameter, torch.from_numpy(golden["parameter"]))


def test_gradients_reach_the_parameters_and_the_gradients_even_at_zero():
    parameter = torch.randn(5, dtype=torch.float64, requires_grad=True)
    gradient = torch.tensor([0.0, 1e-3, -2.0, 0.5, 1e-6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda p, g: adam_step({"w": p}, {"w": g}, lr=0.01, weight_decay=0.1)["w"], (parameter, gradient), atol=1e-4
    )
