"""A folded model gives the features of the model it was made from, and the same gradients to the images."""

import pytest
import torch
from torch import nn

from reid import models
from reid.models.victim import folded


@pytest.fixture(params=["resnet10", "resnet18", "resMeta"])
def trained(request):
    """A model whose batch normalisation does something, as after training."""
    model = models.create(request.param, 5, seed=0).eval()
    random = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.bias.data):
                values.copy_(0.1 * torch.randn(values.shape, generator=random))
            for values in (module.running_var, module.weight.data):
                values.copy_(0.8 + 0.4 * torch.rand(values.shape, generator=random))
    return model


def test_features_and_gradients_are_the_same(trained):
    images = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(2), requires_grad=True)
    found = []
    for model in (trained, folded(trained)):
        features = model.features(images)
        (gradient,) = torch.autograd.grad(features.square().sum(), images)
        found.append((features, gradient))
    for expected, actual in zip(*found, strict=True):
        assert (actual - expected).norm() < 1e-5 * expected.norm()


def test_nothing_is_left_to_normalise_and_the_original_is_untouched(trained):
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    copy = folded(trained)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.base.modules())
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())


def test_a_model_in_training_mode_is_folded_with_its_running_statistics(trained):
    images = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(2))
    expected = trained.features(images)
    copy = folded(trained.train())
    assert trained.training
    torch.testing.assert_close(copy.features(images), expected, rtol=1e-4, atol=1e-4)
