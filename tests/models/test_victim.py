import pytest
import torch
from torch import nn

from reid.models import Victim
from reid.runtime.device import Compute


def test_it_gives_the_features_that_the_model_gives_in_eval_mode(small, images):
    victim = Victim(small)
    torch.testing.assert_close(victim(images), small.eval()(images)[0], rtol=1e-4, atol=1e-5)


def test_it_stays_frozen_and_in_eval_mode_whatever_calls_train(small, images):
    victim = Victim(small)
    before = {key: value.clone() for key, value in victim.state_dict().items()}
    assert victim.train() is victim
    nn.Sequential(victim).train()
    victim(images)
    assert not any(module.training for module in victim.modules())
    assert not any(parameter.requires_grad for parameter in victim.parameters())
    assert all(torch.equal(value, before[key]) for key, value in victim.state_dict().items())


def test_gradients_reach_the_images(small, images):
    images.requires_grad_(True)
    Victim(small)(images).square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_bfloat16_features_are_float32_and_point_where_those_of_float32_do(small, images):
    victim = Victim(small)
    with torch.no_grad():
        exact = victim(images)
        with Compute(torch.device("cpu"), "bf16").autocast():
            rounded = victim(images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert torch.cosine_similarity(rounded, exact).min() >= 0.9995


def test_the_model_it_was_made_from_can_go_on_training(small, images):
    victim = Victim(small.train())
    before = victim(images)
    assert small.training
    small(images)[0].sum().backward()
    torch.optim.SGD(small.parameters(), lr=0.1).step()
    assert torch.equal(victim(images), before)
    assert not torch.equal(Victim(small)(images), before)


@pytest.mark.parametrize("wrap", [lambda features: features, lambda features: (features, None)])
def test_any_module_that_returns_features_is_a_victim(wrap, images):
    class Means(nn.Module):
        def forward(self, x):
            return wrap(x.mean(dim=(2, 3)))

    assert torch.equal(Victim(Means())(images), images.mean(dim=(2, 3)))
