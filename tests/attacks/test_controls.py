import pytest
import torch

from reid.attacks import Threat, controls

THREAT = Threat(8 / 255, 4 / 255, "gallery")
MAKE = {
    0: lambda seed: controls.random_both(THREAT, seed, 16, 8),
    1: lambda seed: controls.random_lut(THREAT, seed),
    2: lambda seed: controls.random_sign(THREAT, seed, 16, 8),
}


@pytest.mark.parametrize("noise_type", MAKE)
class TestEveryControl:
    def test_is_of_its_type_under_the_threat(self, noise_type):
        noise = MAKE[noise_type](0)
        assert noise.noise_type == noise_type
        assert noise.threat.side == "gallery"

    def test_sits_at_the_border_of_the_budget_on_both_sides_equally(self, noise_type):
        noise = MAKE[noise_type](0)
        for name, parameter in noise.named_parameters():
            box = noise.boxes()[name]
            low, high = parameter == box.lower, parameter == box.upper
            assert (low | high).all()
            assert low.float().mean().item() == pytest.approx(0.5, abs=0.05)

    def test_spends_the_budget_on_images(self, noise_type):
        nodes = torch.arange(25) / 24
        x = nodes[torch.randint(1, 24, (4, 3, 16, 8), generator=torch.Generator().manual_seed(0))]
        spent, threat = MAKE[noise_type](0).measure(x), MAKE[noise_type](0).threat
        assert spent["color"] == pytest.approx(threat.eps_color, abs=1e-6)
        assert spent["delta"] == pytest.approx(threat.eps_delta, abs=1e-6)
        assert spent["total"] == pytest.approx(threat.eps_total, abs=1e-6)

    def test_depends_on_the_seed_alone(self, noise_type):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        one, same, other = (list(MAKE[noise_type](seed).parameters()) for seed in (5, 5, 6))
        assert torch.equal(torch.get_rng_state(), before)
        assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))
