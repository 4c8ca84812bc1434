"""Activation recompute changes memory, not results."""

import weakref

import pytest
import torch
from torch.func import functional_call

from reid import models


def model_with(recompute):
    model = models.create("resnet10", 5, seed=0)
    model.dropout.p = 0.0
    model.recompute_activations = recompute
    return model


@pytest.fixture
def images():
    return torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def results(model, images, weights=None):
    """Logits, gradients of the weights, and the running statistics after the step."""
    weights = dict(model.named_parameters()) if weights is None else weights
    used = {name: value for name, value in weights.items() if "base.fc" not in name}
    _, logits = functional_call(model, weights, (images,))
    found = torch.autograd.grad(logits.square().sum(), list(used.values()))
    return [logits, *found, *(buffer.clone() for buffer in model.buffers())]


def test_a_training_step_is_the_same_bit_by_bit(images):
    for plain, twice in zip(results(model_with(False), images), results(model_with(True), images), strict=True):
        assert torch.equal(plain, twice)


def test_weights_that_are_not_the_models_own_are_used_in_both_computations(images):
    found = []
    for recompute in (False, True):
        model = model_with(recompute)
        moved = {name: (value + 0.01).detach().requires_grad_() for name, value in model.named_parameters()}
        found.append(results(model, images, moved))
    for plain, twice in zip(*found, strict=True):
        assert torch.equal(plain, twice)


def test_the_second_derivative_is_the_same(images):
    found = []
    for recompute in (False, True):
        model = model_with(recompute)
        weights = [p for p in model.parameters() if p.requires_grad]
        first = torch.autograd.grad(model(images)[1].square().sum(), weights, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), weights))
    for plain, twice in zip(*found, strict=True):
        torch.testing.assert_close(plain, twice, rtol=1e-5, atol=5e-6 * plain.abs().max().item())


class Held:
    """A tensor that a graph keeps."""

    def __init__(self, tensor):
        self.tensor = tensor


def activations_kept(images, function):
    """Bytes of the activations that the graph of the result of a function keeps."""
    alive = weakref.WeakSet()

    def keep(tensor):
        alive.add(held := Held(tensor))
        return held

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
        result = function(images)
    sizes = {held.tensor.data_ptr(): held.tensor.nbytes for held in alive if held.tensor.shape[:1] == images.shape[:1]}
    assert result is not None  # until here it holds its graph
    return sum(sizes.values())


def test_fewer_activations_are_kept(images):
    plain, twice = (activations_kept(images, model_with(recompute)) for recompute in (False, True))
    assert twice < 0.8 * plain
