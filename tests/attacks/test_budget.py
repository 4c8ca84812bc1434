"""The promise of a threat: whatever its parameters were, a projected perturbation stays inside, up to the border."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid import attacks

GREY = torch.full((2, 3, 16, 8), 0.5)
budgets = st.floats(0, 1)


@settings(max_examples=40, deadline=None)
@given(
    noise_type=st.sampled_from([0, 1, 2]),
    eps_color=budgets,
    eps_delta=budgets,
    spread=st.sampled_from([1e-3, 0.1, 1.0, 100.0]),
    size=st.sampled_from([(16, 8), (9, 5), (1, 1)]),
    seed=st.integers(0, 2**31),
)
def test_no_parameters_leave_the_budget_or_the_range_of_images(noise_type, eps_color, eps_delta, spread, size, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = attacks.create(noise_type, eps_color, eps_delta, height=12, width=8)
    with torch.no_grad():
        for parameter in noise.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    noise.project_()
    x = torch.rand((2, 3, *size), generator=generator)
    x = torch.where(torch.rand(x.shape, generator=generator) < 0.2, x.round(), x)

    x_adv = noise(x).detach()
    spent = noise.measure(x)

    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (x_adv - x).abs().max().item() == spent["total"]
    assert spent["color"] <= noise.threat.eps_color + 1e-6
    assert spent["delta"] <= noise.threat.eps_delta + 1e-6
    assert spent["total"] <= noise.threat.eps_color + noise.threat.eps_delta + 1e-6
    assert spent["total_8bit"] <= noise.threat.eps_total + 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("noise_type", "color", "delta", "total"),
    [(0, 8 / 255, 4 / 255, 12 / 255), (1, 8 / 255, 0, 8 / 255), (2, 0, 4 / 255, 4 / 255)],
)
def test_a_gradient_of_constant_sign_reaches_the_border_of_the_budget(noise_type, color, delta, total):
    noise = attacks.create(noise_type, 8 / 255, 4 / 255, height=16, width=8)
    optimizer = attacks.MISGD(noise.step_groups(), lr=0.0)
    for _ in range(12):
        optimizer.zero_grad()
        (-noise(GREY).sum()).backward()
        optimizer.step()
        noise.project_()
    spent = noise.measure(GREY)
    assert spent["color"] == pytest.approx(color, abs=1e-6)
    assert spent["delta"] == pytest.approx(delta, abs=1e-6)
    assert spent["total"] == pytest.approx(total, abs=1e-6)
    assert torch.allclose(noise(GREY), GREY + total, atol=1e-6)


def test_rounding_to_8_bits_is_measured_as_it_comes_out():
    noise = attacks.create(2, eps_delta=3.4 / 255, height=16, width=8)
    with torch.no_grad():
        noise.delta.fill_(3.4 / 255)
    x = torch.full((1, 3, 16, 8), 100 / 255)
    assert noise.measure(x)["total"] == pytest.approx(3.4 / 255, abs=1e-6)
    assert noise.measure(x)["total_8bit"] == pytest.approx(3 / 255, abs=1e-6)


def test_what_the_range_of_images_swallows_is_not_spent():
    noise = attacks.create(2, eps_delta=0.1, height=1, width=1)
    with torch.no_grad():
        noise.delta.fill_(0.1)
    assert noise.measure(torch.full((1, 3, 1, 1), 0.97))["delta"] == pytest.approx(0.03, abs=1e-6)


def test_components_that_go_in_opposite_directions_are_told_apart():
    noise = attacks.create(0, 8 / 255, 8 / 255, height=1, width=2)
    with torch.no_grad():
        noise.layer_00.xform["xform_params"] += 4 / 255
        noise.layer_01.delta[...] = torch.tensor([-5.0, 3.0]) / 255
    spent = noise.project_().measure(torch.full((1, 3, 1, 2), 100 / 255))
    assert spent == pytest.approx(
        {"color": 4 / 255, "delta": 5 / 255, "total": 7 / 255, "total_8bit": 7 / 255}, abs=1e-6
    )
