import pytest
import torch
from accelerator import DEVICE, accelerator
from torch import nn

from reid import UsageError, models
from reid.models import InputSpec, Passes, Victim
from reid.runtime.device import Compute


class Means(nn.Module):
    """Channel means through a linear layer, dropout, and a layer that torch does not know of."""

    def __init__(self, wrap=lambda features: features):
        super().__init__()
        self.wrap, self.linear, self.dropout = wrap, nn.Linear(3, 4), nn.Dropout(0.5)
        self.hidden = {"layers": [nn.Dropout(0.5), nn.Linear(4, 4)]}

    def forward(self, x):
        features = self.dropout(self.linear(x.mean(dim=(2, 3))))
        for layer in self.hidden["layers"]:
            features = layer(features)
        return self.wrap(features)


def state_of(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def test_it_gives_the_features_that_the_model_gives_in_eval_mode(small, images):
    torch.testing.assert_close(Victim(small)(images), small.eval()(images)[0], rtol=1e-4, atol=1e-5)


def test_it_stays_frozen_and_in_eval_mode_whatever_calls_train(small, images):
    victim = Victim(small)
    before = state_of(victim)
    assert victim.train() is victim
    nn.Sequential(victim).train()
    victim(images)
    assert not any(module.training for module in victim.modules())
    assert not any(parameter.requires_grad for parameter in victim.parameters())
    assert all(torch.equal(value, before[key]) for key, value in victim.state_dict().items())


def test_modules_in_lists_and_dicts_are_frozen_and_in_eval_mode_too(images):
    victim = Victim(Means())
    victim.model.hidden["layers"][0].train()
    victim.train()
    assert torch.equal(victim(images), victim(images))
    assert not victim(images).requires_grad


def test_bfloat16_features_are_float32_and_point_where_those_of_float32_do(small, images):
    victim = Victim(small)
    with torch.no_grad():
        exact = victim(images)
        with Compute(torch.device("cpu"), "bf16").autocast():
            rounded = victim(images)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert torch.cosine_similarity(rounded, exact).min() >= 0.9995


def test_half_precision_features_become_float32(images):
    assert Victim(lambda x: x.mean((2, 3)).half())(images).dtype == torch.float32


@pytest.mark.parametrize("make", [lambda: models.create("resnet10", 7, seed=1), Means])
def test_the_model_it_was_made_from_is_left_alone_and_can_go_on_training(make, images):
    model = make()
    layout = {key: value.stride() for key, value in model.state_dict().items()}
    victim = Victim(model)
    before = victim(images)
    assert all(module.training for module in model.modules())
    assert any(parameter.requires_grad for parameter in model.parameters())
    assert {key: value.stride() for key, value in model.state_dict().items()} == layout
    output = model(images)
    (output[0] if isinstance(output, tuple) else output).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert torch.equal(victim(images), before)
    assert not torch.equal(Victim(model)(images), before)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda features: features,
        lambda features: (features, None),
        lambda features: [features, None],
        lambda features: {"features": features, "logits": None},
        lambda features: ({"features": features}, None),
        lambda features: features[:, :, None, None],
    ],
)
def test_any_module_that_returns_features_is_a_victim(wrap, images):
    model = Means(wrap)
    for module in (model, *model.hidden["layers"]):
        module.eval()
    victim = Victim(model)
    expected = victim(images)
    assert expected.shape == (4, 4)
    plain = Means()
    plain.load_state_dict(model.state_dict())
    plain.hidden = model.hidden
    assert torch.equal(expected, plain.eval()(images))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda x: x.mean(), r"a tensor \(\) for 4 images"),
        (lambda x: x.numpy(), "ndarray"),
        (lambda x: x, r"a tensor \(4, 3, 64, 32\) for 4 images, not pooled features \(4, D\)"),
        (lambda x: (), "NoneType"),
        (lambda x: x[:2].flatten(1), r"a tensor \(2, 6144\)"),
    ],
)
def test_what_gives_no_features_is_refused(output, words, images):
    with pytest.raises(UsageError, match=words) as caught:
        Victim(output, name="mine.py")(images)
    assert "mine.py" in str(caught.value)


def test_a_module_that_cannot_be_copied_may_come_as_a_function(images):
    model = Means()
    model.cached = model(images)  # has a graph, which torch does not copy
    with pytest.raises(UsageError, match="lambda images: model"):
        Victim(model)
    assert Victim(lambda x: model(x))(images).shape == (4, 4)


def test_a_model_of_ours_that_cannot_be_copied_is_refused_in_the_same_way(small, images):
    small.cached = small(images)
    with pytest.raises(UsageError, match="a ReidModel cannot be copied"):
        Victim(small)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.rand(3, 64, 32), r"not torch\.float32 \(3, 64, 32\)"),
        (torch.rand(2, 1, 64, 32), r"\(2, 1, 64, 32\)"),
        (torch.zeros(2, 3, 64, 32, dtype=torch.uint8), r"torch\.uint8 .* divide 8-bit values by 255"),
    ],
)
def test_what_are_no_images_is_refused(wrong, words, small):
    with pytest.raises(UsageError, match=words):
        Victim(small)(wrong)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_torchscript_module(images):
    model = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.AdaptiveAvgPool2d(1))).train()
    victim = Victim(model)
    assert torch.equal(victim(images), victim(images))
    assert victim.differentiable
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


# Input


def test_an_input_is_the_first_layer(images):
    spec = InputSpec(32, 16, channels="bgr", scale=255, mean=(104, 117, 123))
    victim = Victim(lambda x: x.flatten(1), spec)
    assert victim.input is spec
    assert torch.equal(victim(images), spec.layer()(images).flatten(1))
    assert Victim(lambda x: x.mean((2, 3))).input == InputSpec(256, 128, resize=None)


def test_an_input_is_where_the_model_is(small, images):
    with accelerator():
        victim = Victim(small.to(DEVICE))
        assert victim(images.to(DEVICE)).device == DEVICE


def test_an_input_takes_the_place_of_a_models_own(small, images):
    own, other = Victim(small), Victim(small, InputSpec(256, 128, resize=None))
    assert own.input == small.input
    assert not torch.allclose(own(images), other(images))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (own.input.mean, own.input.std))
    torch.testing.assert_close(own(images * std + mean), other(images), rtol=1e-5, atol=1e-6)


# Where it runs


@pytest.mark.parametrize("make", [lambda: models.create("resnet10", 7), lambda: nn.Conv2d(3, 4, (64, 32))])
def test_an_input_goes_where_the_images_are(make, images):
    with torch.device("meta"):
        model = make()
    victim = Victim(model, InputSpec(64, 32, mean=(0.5, 0.5, 0.5)))
    assert victim(images.to("meta")).is_meta


def test_modules_in_lists_and_dicts_move_too(images):
    model = Means()
    victim = Victim(model).double()
    assert victim(images.double()).dtype == torch.float64
    assert model.hidden["layers"][1].weight.dtype == torch.float32
    assert Victim(Means()).to("meta")(images.to("meta")).is_meta


def test_a_function_is_probed_where_the_victim_was_moved():
    devices = []

    def record(x):
        devices.append(x.device.type)
        return x.mean((2, 3))

    assert Victim(record).to("meta").feature_dim == 3
    assert devices == ["meta"]


# What it says of itself


def test_gradients_reach_the_images_and_passes_are_counted(small, images):
    victim = Victim(small)
    assert victim.passes == Passes(0, 0)
    images.requires_grad_(True)
    victim(images).square().sum().backward()
    assert images.grad.abs().sum() > 0
    assert victim.passes == Passes(forward=4, backward=4)
    with torch.no_grad():
        victim(images[:3])
    victim(images.detach())
    before = victim.passes
    assert before == Passes(forward=11, backward=4)
    features = victim(images[:1])
    for keep in (True, False):
        torch.autograd.grad(features.sum(), images, retain_graph=keep)
    assert victim.passes - before == Passes(forward=1, backward=2)
    victim.reset_passes()
    assert victim.passes == Passes(0, 0)


def test_width_and_gradients_are_found_out_without_being_counted(small):
    victims = [Victim(small), Victim(Means()), Victim(lambda x: torch.from_numpy(x.numpy().mean((2, 3))))]
    assert [victim.feature_dim for victim in victims] == [512, 4, 3]
    assert [victim.differentiable for victim in victims] == [True, True, False]
    assert all(victim.passes == Passes(0, 0) for victim in victims)


def test_gradients_that_reach_the_weights_alone_are_none_to_the_images(images):
    linear = nn.Linear(3, 4)
    victim = Victim(lambda x: linear(x.detach().mean((2, 3))))
    assert not victim.differentiable
    victim(images).sum().backward()
    assert victim.passes == Passes(forward=4, backward=0)
    assert linear.weight.grad is not None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_whether_gradients_reach_the_images_does_not_depend_on_who_asks(mode):
    victim = Victim(Means())
    with mode():
        assert victim.differentiable


def test_an_error_of_the_model_is_not_taken_for_a_lack_of_gradients():
    def broken(images):
        raise RuntimeError("no such operator")

    with pytest.raises(RuntimeError, match="no such operator"):
        _ = Victim(broken).differentiable


def test_the_probe_is_of_the_size_that_the_model_takes():
    sizes = []

    def record(x):
        sizes.append(tuple(x.shape))
        return x.mean((2, 3))

    assert Victim(record).feature_dim == Victim(record, InputSpec(32, 16, resize=None)).feature_dim == 3
    assert sizes == [(1, 3, 256, 128), (1, 3, 32, 16)]


def test_names(small):
    victim = Victim(small, name="market.pth", sha256="ab")
    assert (victim.name, victim.sha256, victim.arch) == ("market.pth", "ab", "resnet10")
    assert Victim(Means()).arch == "Means"
