"""The inner step of the defence: the released numbers, and the chain rule through it."""

from pathlib import Path

import numpy as np
import torch

from reid.training.inner import Inner

GOLDEN = Path(__file__).parents[1] / "data" / "inner_adam_step.npz"


def test_the_step_is_the_released_one():
    golden = np.load(GOLDEN)
    parameter, gradient = torch.from_numpy(golden["parameter"]), torch.from_numpy(golden["gradient"])
    moved = Inner({"w": float(golden["lr"])}, float(golden["weight_decay"])).step({"w": parameter}, {"w": gradient})
    assert torch.allclose(moved["w"], torch.from_numpy(golden["updated"]), atol=1e-6, rtol=0)
    assert torch.equal(parameter, torch.from_numpy(golden["parameter"]))


def test_the_pullback_agrees_with_finite_differences_even_at_zero():
    random = torch.Generator().manual_seed(0)
    parameter = torch.randn(5, dtype=torch.float64, generator=random)
    gradient = torch.tensor([0.0, 1e-3, -2.0, 0.5, 1e-6], dtype=torch.float64)
    wanted = torch.randn(5, dtype=torch.float64, generator=random)
    inner, tiny = Inner({"w": 0.01}, 0.1), 1e-7

    def value(p, g):
        return inner.step({"w": p}, {"w": g})["w"] * wanted

    found = inner.pullback({"w": parameter}, {"w": gradient}, {"w": wanted})
    expected = (
        (value(parameter + tiny, gradient) - value(parameter - tiny, gradient)) / (2 * tiny),
        (value(parameter, gradient + tiny) - value(parameter, gradient - tiny)) / (2 * tiny),
    )
    for got, numeric in zip(found, expected, strict=True):
        assert torch.allclose(got["w"], numeric, rtol=1e-5, atol=1e-5)


def test_what_a_parameter_without_a_gradient_gets_is_passed_on():
    wanted = {"used": torch.ones(2), "unused": torch.ones(2)}
    parameters = {name: torch.ones(2) for name in wanted}
    to_parameters, to_gradients = Inner({"used": 0.1}, 0.5).pullback(parameters, {"used": torch.ones(2)}, wanted)
    assert torch.equal(to_parameters["unused"], wanted["unused"])
    assert list(to_gradients) == ["used"]


def test_each_parameter_moves_at_its_own_rate():
    parameters = {"body": torch.ones(3), "head": torch.ones(3)}
    gradients = {name: torch.full((3,), 2.0) for name in parameters}
    moved = Inner({"body": 0.01, "head": 0.03}, weight_decay=0.0).step(parameters, gradients)
    assert torch.allclose(1 - moved["body"], torch.full((3,), 0.01), rtol=1e-4, atol=0)
    assert torch.allclose(1 - moved["head"], torch.full((3,), 0.03), rtol=1e-4, atol=0)


def test_a_parameter_without_a_gradient_is_left_alone_weight_decay_included():
    parameters = {"used": torch.ones(3), "unused": torch.ones(3)}
    moved = Inner({"used": 0.1, "unused": 0.1}, weight_decay=0.5).step(parameters, {"used": torch.ones(3)})
    assert torch.equal(moved["unused"], parameters["unused"])
    assert list(moved) == ["used", "unused"]
    assert not torch.equal(moved["used"], parameters["used"])
