"""What is found out about a model before it is used, and the lines that say what was loaded."""

import copy
import logging
import re

import pytest
import torch
from torch import nn

from reid import UsageError, models
from reid.models.inputs import InputSpec, preprocessing
from reid.models.sources import Source
from reid.models.trial import described, fingerprint, same_in_batches, troubles
from reid.models.victim import Passes, Victim

SPEC = InputSpec(32, 16)


class Colours(nn.Module):
    """Healthy: smooth functions of small parts of an image."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 8, 8)
        nn.init.normal_(self.body.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, images):
        return self.body(images).flatten(1).tanh()


def source(network, **options):
    return Source("mine:net", "ab" * 32, lambda variant: network, lambda variant: SPEC, **options)


def test_a_healthy_model_has_no_troubles(caplog):
    with caplog.at_level(logging.WARNING):
        victim = source(Colours()).victim()
    assert not caplog.records
    assert victim.passes == Passes(0, 0)
    assert not troubles(victim)


def test_what_was_loaded_is_said_in_two_lines(caplog):
    with caplog.at_level(logging.INFO):
        victim = source(Colours(), kind="a net of mine", loaded=lambda variant: "2 tensors loaded").victim("half")
    network, feature = (record.getMessage() for record in caplog.records)
    assert network == "mine:net: Colours, a net of mine; 2 tensors loaded"
    assert feature.startswith("mine:net: feature of width 64, as the network gives them; images 32 x 16 (by bilinear)")
    assert feature.endswith(f", RGB, half (half); fingerprint {victim.fingerprint}")
    assert described(victim)["fingerprint"] == victim.fingerprint == fingerprint(victim)


def test_the_keys_of_a_checkpoint_are_counted(small, tmp_path, caplog):
    state = small.state_dict() | {"extra": torch.zeros(1)}
    torch.save({"model": state}, tmp_path / "x.pth")
    with caplog.at_level(logging.INFO):
        models.load_victim(tmp_path / "x.pth")
    assert "x.pth: resnet10, the ResNets and resMeta of this project; " in caplog.text
    assert f"{len(state) - 1} tensors loaded, under 'model', 1 unexpected (extra)" in caplog.text


def test_the_fingerprint_tells_weights_input_resizing_and_output_apart():
    network, other = Colours(), Colours()
    other.body.weight.data += 0.05
    victims = [
        Victim(network, SPEC),
        Victim(other, SPEC),
        Victim(network, preprocessing("half", 32, 16)),
        Victim(network, preprocessing("unit-bgr", 32, 16)),
        Victim(network, InputSpec(32, 16, resize="nearest")),
        Victim(lambda images: network(images).flip(1), SPEC),
    ]
    assert len({fingerprint(victim) for victim in victims}) == len(victims)
    assert fingerprint(victims[0]) == fingerprint(Victim(copy.deepcopy(network), SPEC))


class Reads255(nn.Module):
    """Trained on 0..255: saturates a bias otherwise."""

    def __init__(self, weights=(1.0, 0.5, 0.25)):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, images):
        parts = nn.functional.avg_pool2d(images, 4) * self.weights[:, None, None]
        return torch.cat([parts.flatten(1) - 100, torch.full((len(images), 1), 500.0)], 1)


def test_features_that_hardly_differ_name_the_range():
    for reading in ("unit", "imagenet", "half-bgr"):
        (line,) = troubles(Victim(Reads255(), preprocessing(reading, 32, 16)))
        assert re.search(r"hardly differ \(cosines above (0\.99|1\.00)", line)
        assert "a wrong range of values is the likely cause" in line or "order of channels" in line
        assert "as 255" in line
    assert not troubles(Victim(Reads255(), preprocessing("255", 32, 16)))


def test_features_that_never_differ_name_the_weights():
    (line,) = troubles(
        Victim(lambda images: images.mean((1, 2, 3))[:, None] * 0 + torch.ones(4) + 1e-3 * images[:, 0, 0, :4], SPEC)
    )
    assert "check its weights" in line


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(value):
    with pytest.raises(UsageError, match=r"mine:net gives features that are NaN or infinite for 3 of 3 drawn images"):
        source(lambda images: images.flatten(1) * value).victim()


def test_a_model_that_mixes_its_batch_gets_images_one_by_one(caplog):
    def network(images):
        return images.flatten(1) + images.flatten(1).mean(0)

    assert not same_in_batches(Victim(network, SPEC))
    with caplog.at_level(logging.WARNING):
        victim = source(network).victim()
    assert "one by one" in caplog.text
    images = torch.rand(5, 3, 32, 16)
    torch.testing.assert_close(victim(images), 2 * images.flatten(1))
    assert victim.differentiable


def test_a_function_whose_network_is_in_training_mode_is_not_silent(caplog):
    network = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.BatchNorm2d(8), nn.Flatten())
    with caplog.at_level(logging.WARNING):
        source(lambda images: network(images)).victim()
    assert "is a part of it in training mode?" in caplog.text


def test_a_network_that_fails_is_one_line():
    with pytest.raises(
        UsageError, match=r"fails on images 3x3x32x16: RuntimeError: .*; --preprocessing NAME@HEIGHTxWIDTH"
    ):
        source(nn.Sequential(nn.Flatten(), nn.Linear(7, 7))).victim()


def test_random_features_are_named():
    (line,) = troubles(Victim(lambda images: images.flatten(1) + torch.rand(len(images), 1), SPEC))
    assert "other features each time" in line


@pytest.mark.parametrize("place", ["list", "dict"])
def test_modules_in_lists_and_dicts_are_in_eval_mode(place):
    class Hidden(Colours):
        def __init__(self):
            super().__init__()
            norm = nn.BatchNorm1d(64)
            self.layers = [norm] if place == "list" else {"norm": norm}

        def forward(self, images):
            return self.layers[0 if place == "list" else "norm"](super().forward(images))

    network = Hidden()
    assert not troubles(source(network).victim())
    assert network.training


@pytest.mark.parametrize("spec", [InputSpec(32, 16), InputSpec(32, 16, resize=None, std=(0.5, 0.5, 0.5))])
def test_a_model_that_works_in_place_leaves_the_callers_images(spec):
    victim = Victim(lambda images: images.sub_(0.5).div_(0.5).flatten(1), spec)
    images = torch.rand(2, 3, 32, 16, requires_grad=True)
    before = images.detach().clone()
    victim(images).sum().backward()
    assert torch.equal(images, before)
    assert (images.grad == 2 / spec.std[0]).all()


@pytest.mark.parametrize(
    "network",
    [
        lambda images: images.detach().flatten(1),
        lambda images: images.flatten(1).round(),
        lambda images: (images.flatten(1) * 0).sqrt() + images.detach().flatten(1),
    ],
)
def test_gradients_of_nothing_are_none(network):
    victim = Victim(network, SPEC)
    assert not victim.differentiable
    assert troubles(victim) == ["gives no gradients, or only zero or infinite ones: scores only"]


def test_normalised_features_have_gradients():
    victim = Victim(lambda images: nn.functional.layer_norm(images.flatten(1), (3 * 32 * 16,)), SPEC)
    assert victim.differentiable


@pytest.mark.parametrize(
    ("reading", "size", "name"),
    [("half@64x32", (64, 32), "half"), ("own", (32, 16), "unit"), ("own@48x24", (48, 24), "unit")],
)
def test_a_reading_may_have_a_size(reading, size, name):
    victim = source(Colours()).candidate(reading)
    assert (victim.input.size, victim.input.usual, victim.reading) == (size, name, reading)


@pytest.mark.parametrize("reading", ["half@64", "own@64x32x1", "", "own/other", "halve", "half@0x5"])
def test_what_is_no_reading_is_refused(reading):
    with pytest.raises(UsageError):
        source(Colours()).candidate(reading)


def test_a_size_that_a_file_does_not_take_is_refused():
    with pytest.raises(UsageError, match="takes 32 x 16 images only; leave @ out of own@64x32"):
        source(Colours(), fixed=(32, 16)).candidate("own@64x32")
