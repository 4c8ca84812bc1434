"""Networks of others in training: the interface of ours, their own features, which statistics move."""

import pytest
import tiny_networks
import torch
from torch.func import functional_call

from reid import UsageError, models
from reid.models import Victim
from reid.models.adopted import Adopted, victim_of
from reid.models.drawn import drawn_images
from reid.models.sources import open_model


def victim(network=None):
    return Victim(network or tiny_networks.shared(), tiny_networks.SPEC)


def adopted(batch_norm="eval"):
    first = victim()
    with torch.no_grad():
        first(torch.rand(2, 3, *tiny_networks.SIZE))  # tells the place of the feature
    return Adopted(first, 4, batch_norm)


def statistics(model):
    return [buffer.clone() for name, buffer in model.named_buffers() if "running" in name]


def same(first, second):
    return all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@pytest.fixture
def images():
    return torch.rand(6, 3, *tiny_networks.SIZE, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("training", [True, False])
def test_features_are_those_of_the_victim_in_training_too(images, training):
    """In units of their mean length, of drawn images."""
    model, first = adopted().train(training), victim()
    features, logits = model(images)
    length = first(drawn_images(*tiny_networks.SIZE)).norm(dim=1).mean()
    assert abs(length - 1) > 0.1
    assert torch.allclose(length * features, first(images), atol=1e-6)
    assert torch.equal(model.features(images), features)
    assert (features.shape[1], logits.shape[1]) == (model.feature_dim, model.num_classes) == (8, 4)
    assert model.embedding_dim == 8
    assert torch.allclose(victim_of(model)(images), first(images), atol=1e-6)  # what is returned gives features as ever


def test_features_that_are_compared_by_their_cosine_have_the_length_1(images):
    first = victim()
    raw = first(images)
    model = Adopted(first, 4, distance="cosine")
    assert torch.allclose(model.features(images), raw / raw.norm(dim=1, keepdim=True), atol=1e-6)
    assert torch.equal(model(images)[0], model.features(images))
    assert torch.allclose(victim_of(model)(images), raw, atol=1e-6)  # what is returned gives features as it always did


def test_all_weights_of_the_network_are_trained_and_none_of_its_input():
    model = adopted()
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"base", "head"}
    assert all(weight.requires_grad for weight in model.parameters())


def test_statistics_stay_in_eval_and_move_when_live(images):
    for batch_norm, moves in (("eval", False), ("live", True)):
        model = adopted(batch_norm).train()
        before = statistics(model)
        model(images)
        assert same(before, statistics(model)) is not moves
        model.eval()
        before = statistics(model)
        model(images)
        assert same(before, statistics(model))


def test_ours_with_frozen_statistics_keeps_them():
    model = models.create("resnet10", 3, seed=0)
    model.batch_norm = "eval"
    before = statistics(model.train())
    model(torch.rand(4, 3, 32, 16))
    assert same(before, statistics(model))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_the_head_names_the_nearest_centroid(distance):
    """Of features as training compares them."""
    first = victim()
    with torch.no_grad():
        first(torch.rand(2, 3, *tiny_networks.SIZE))
    model = Adopted(first, 4, distance=distance)
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    features = 5 * torch.randn(4, 8, generator=random)[labels] + torch.randn(40, 8, generator=random)
    model.start_head(features, labels)
    features = model._compared(features)
    assert (features.norm(dim=1).std() < 1e-4) == (distance == "cosine")
    centroids = torch.stack([features[labels == label].mean(0) for label in range(4)])
    distances = torch.cdist(features, centroids).square()
    logits = model.head(features)
    unit = distances.gather(1, labels[:, None]).mean()
    expected = -(distances - distances.mean(1, keepdim=True)) / 2 / unit
    assert torch.allclose(logits - logits.mean(1, keepdim=True), expected, atol=1e-4)


def test_wrong_ones_are_refused():
    with pytest.raises(UsageError, match="gives scores only, so it cannot be defended"):
        Adopted(Victim(lambda images: images.mean((2, 3))), 4)
    with pytest.raises(UsageError, match="has no weights to train"):
        Adopted(Victim(torch.nn.Flatten()), 4)
    network = tiny_networks.shared()
    network.stem[1] = torch.nn.BatchNorm2d(8, affine=False).eval()
    with pytest.raises(UsageError, match="use --batch-norm eval"):
        Adopted(Victim(network, tiny_networks.SPEC), 4, "live")
    Adopted(Victim(network, tiny_networks.SPEC), 4)


def test_an_onnx_file_is_a_function_of_named_weights_and_layers_share_theirs(images, tmp_path):
    for package in ("onnx", "onnxruntime", "onnx2pytorch"):
        pytest.importorskip(package)
    path = tiny_networks.write_onnx(tiny_networks.shared(), tmp_path / "x.onnx")
    model = Adopted(open_model(path).victim("half"), 4)
    convolutions = [weight for weight in model.base.parameters() if weight.shape == (8, 8, 3, 3)]
    assert len(convolutions) == 1  # of the two that use it
    moved = {name: weight.detach() + 0.1 for name, weight in model.named_parameters()}
    expected = functional_call(model, moved, (images,))[0]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(moved[name])
    assert torch.equal(model.features(images), expected)
