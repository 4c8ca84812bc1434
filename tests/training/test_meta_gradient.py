"""The gradient of a defence step against central differences of the written-out objective, in float64."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from reid import UsageError
from reid.training.batches import TrainingBatch
from reid.training.inner import Inner
from reid.training.step import step_gradients

SHAPES = {"body": (6, 5), "bias": (5,), "source_head": (5, 3), "virtual_head": (5, 4), "unused": (2,)}
RATES = {"body": 0.1, "bias": 0.2, "source_head": 0.3, "virtual_head": 0.3, "unused": 0.3}
WEIGHT_DECAY = 0.01


def loss_of(weights, batch):
    """A two-layer perceptron with a head for each set. The scale puts gradients where the inner step is curved."""
    hidden = torch.tanh(batch.images.flatten(1) @ weights["body"] + weights["bias"])
    logits = hidden @ weights["virtual_head" if batch.virtual else "source_head"]
    return 0.1 * cross_entropy(logits, batch.labels)


def batch(seed, virtual, learnt=True):
    random = torch.Generator().manual_seed(seed)
    clean, perturbed = torch.rand(2, 6, 3, 2, 1, generator=random, dtype=torch.float64)
    labels = torch.randint(0, 3, (12,), generator=random)
    return TrainingBatch(clean, perturbed.requires_grad_(learnt), labels, clean, virtual)


def inner(order):
    return Inner(RATES, WEIGHT_DECAY, order)


@pytest.fixture(params=[0, 1, 2])
def seed(request):
    return request.param


@pytest.fixture
def weights(seed):
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()
        for name, shape in SHAPES.items()
    }


@pytest.fixture
def source(seed):
    return batch(100 + seed, virtual=False)


@pytest.fixture
def virtual(seed):
    return batch(200 + seed, virtual=True)


def gradients_at(weights, data):
    """Plain autograd: the gradient of the loss on one batch, for the weights that it has one for."""
    leaves = {name: value.detach().requires_grad_() for name, value in weights.items()}
    found = torch.autograd.grad(loss_of(leaves, data), list(leaves.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}


def objective(source, virtual, held=None):
    """w -> L(w; source) + L(inner.step(w, gradient of L(w; source)); virtual), or with that gradient `held`."""

    def value(weights):
        gradients = gradients_at(weights, source) if held is None else held
        moved = Inner(RATES, WEIGHT_DECAY).step(weights, gradients)
        return (loss_of(weights, source) + loss_of(moved, virtual)).item()

    return value


def central_differences(function, weights, step=1e-6):
    def at(name, index, shift):
        there = {key: value.detach().clone() for key, value in weights.items()}
        there[name].view(-1)[index] += shift
        return function(there)

    return {
        name: torch.tensor(
            [(at(name, i, step) - at(name, i, -step)) / (2 * step) for i in range(value.numel())], dtype=torch.float64
        ).view_as(value)
        for name, value in weights.items()
    }


def relative_error(got, expected):
    """Norm of the difference over the norm; what is missing is zero."""
    missing = {name: torch.zeros_like(value) for name, value in expected.items()}
    got = torch.cat([(missing | got)[name].flatten() for name in expected])
    expected = torch.cat([value.flatten() for value in expected.values()])
    return ((got - expected).norm() / expected.norm()).item()


class TestSecondOrder:
    def test_is_the_gradient_of_the_written_out_objective(self, weights, source, virtual):
        got = step_gradients(loss_of, weights, source, virtual, inner("second")).gradients
        expected = central_differences(objective(source, virtual), weights)
        assert relative_error(got, expected) <= 1e-5
        for name in got:
            assert relative_error({name: got[name]}, {name: expected[name]}) <= 1e-5

    def test_without_the_identity_path_it_is_not(self, weights, source, virtual, monkeypatch):
        """The released fault: the moved weights start from detached clones of the live ones."""

        pullback = Inner.pullback

        def without(inner, weights, gradients, to_moved):
            to_weights, to_gradients = pullback(inner, weights, gradients, to_moved)
            return {name: value - to_moved[name] for name, value in to_weights.items()}, to_gradients

        monkeypatch.setattr(Inner, "pullback", without)
        got = step_gradients(loss_of, weights, source, virtual, inner("second")).gradients
        expected = central_differences(objective(source, virtual), weights)
        assert relative_error(got, expected) > 0.1
        assert not got["virtual_head"].any()


class TestFirstOrder:
    def test_takes_the_inner_gradient_as_a_constant(self, weights, source, virtual):
        got = step_gradients(loss_of, weights, source, virtual, inner("first")).gradients
        held = gradients_at(weights, source)
        expected = central_differences(objective(source, virtual, held), weights)
        assert relative_error(got, expected) <= 1e-5

    def test_differs_from_the_second(self, weights, source, virtual):
        first, second = (
            step_gradients(loss_of, weights, source, virtual, inner(order)).gradients for order in ("first", "second")
        )
        assert relative_error(first, second) > 0.01


class TestWithoutLookingAhead:
    def test_both_gradients_are_taken_at_the_live_weights_and_added(self, weights, source, virtual):
        got = step_gradients(loss_of, weights, source, virtual).gradients
        expected = central_differences(lambda w: (loss_of(w, source) + loss_of(w, virtual)).item(), weights)
        assert relative_error(got, expected) <= 1e-5

    def test_is_what_a_look_of_no_length_gives(self, weights, source, virtual):
        still = Inner(dict.fromkeys(RATES, 0.0), WEIGHT_DECAY)
        got = step_gradients(loss_of, weights, source, virtual, still).gradients
        assert relative_error(got, step_gradients(loss_of, weights, source, virtual).gradients) < 1e-12

    def test_of_the_source_alone_is_the_ordinary_one(self, weights, source):
        step = step_gradients(loss_of, weights, source)
        expected = gradients_at(weights, source)
        assert step.gradients.keys() == expected.keys() == {"body", "bias", "source_head"}
        assert all(torch.equal(step.gradients[name], expected[name]) for name in expected)
        assert step.losses.keys() == {"loss_tr"}


@pytest.mark.parametrize("look", [None, inner("first"), inner("second")], ids=["none", "first", "second"])
class TestEveryStep:
    def moved(self, weights, source, look):
        if look is None:
            return weights
        return look.step(weights, gradients_at(weights, source))

    def test_leaves_the_live_weights_bitwise_as_they_are(self, weights, source, virtual, look):
        before = {name: value.detach().clone() for name, value in weights.items()}
        step_gradients(loss_of, weights, source, virtual, look)
        assert all(torch.equal(value, before[name]) for name, value in weights.items())
        assert all(value.grad is None for value in weights.values())

    def test_gives_the_two_losses(self, weights, source, virtual, look):
        losses = step_gradients(loss_of, weights, source, virtual, look).losses
        assert losses["loss_tr"].item() == loss_of(weights, source).item()
        assert losses["loss_te"].item() == pytest.approx(loss_of(self.moved(weights, source, look), virtual).item())

    def test_gives_nothing_that_holds_a_graph_or_is_shared(self, weights, source, virtual, look):
        step = step_gradients(loss_of, weights, source, virtual, look)
        given = [*step.losses.values(), *step.gradients.values(), *step.image_gradients]
        assert not any(tensor.requires_grad for tensor in given)
        assert len({tensor.data_ptr() for tensor in given}) == len(given)

    def test_gives_no_gradient_for_a_weight_that_no_loss_uses(self, weights, source, virtual, look):
        gradients = step_gradients(loss_of, weights, source, virtual, look).gradients
        assert list(gradients) == ["body", "bias", "source_head", "virtual_head"]

    def test_image_gradients_are_those_of_each_batchs_own_loss(self, weights, source, virtual, look):
        """That of the source does not go through the inner step: the adversary climbs the loss it is shown."""
        moved = {name: value.detach() for name, value in self.moved(weights, source, look).items()}
        expected = [
            torch.autograd.grad(loss_of(there, data), data.perturbed)[0]
            for there, data in ((weights, source), (moved, virtual))
        ]
        got = step_gradients(loss_of, weights, source, virtual, look).image_gradients
        assert len(got) == 2
        for one, other in zip(got, expected, strict=True):
            assert torch.allclose(one, other, rtol=1e-12, atol=0)

    def test_images_that_nobody_learns_from_have_no_gradient(self, weights, look):
        fixed = [batch(seed, virtual, learnt=False) for seed, virtual in ((1, False), (2, True))]
        assert step_gradients(loss_of, weights, *fixed, look).image_gradients == []


def test_an_unknown_order_is_refused():
    with pytest.raises(UsageError, match="inner order 'third' is not one of first, second"):
        Inner({}, 0.0, "third")
