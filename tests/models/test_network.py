import logging
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch.nn import functional as F

from reid import UsageError, models


@pytest.mark.parametrize(("arch", "num_classes"), [("resnet50", 751), ("resnet18", 10), ("resMeta", 751)])
def test_the_state_dict_is_laid_out_like_the_released_one(arch, num_classes, layouts, skeleton):
    state = skeleton(arch, num_classes).state_dict()
    ours = [(key, list(value.shape), str(value.dtype)) for key, value in state.items()]
    released = layouts[f"{arch}_num_classes_{num_classes}"]
    assert ours == [(key, shape, f"torch.{dtype}") for key, (shape, dtype) in released.items()]


def test_every_promised_architecture_exists():
    promised = {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resMeta", "resnet10"}
    assert set(models.names()) == promised


@pytest.mark.parametrize(
    ("arch", "width"), [("resnet10", 512), ("resnet34", 512), ("resnet50", 2048), ("resMeta", 2048)]
)
def test_it_returns_features_and_logits(arch, width, skeleton, images):
    model = skeleton(arch, 9)
    features, logits = model(images.to("meta"))
    assert features.shape == (4, width) == (4, model.feature_dim)
    assert logits.shape == (4, 9)


def test_features_and_logits_follow_the_definition(small, images):
    small.eval()
    state = small.state_dict()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    body = torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]).eval()
    body.load_state_dict(small.base.state_dict())
    body.fc = torch.nn.Identity()
    expected_features = body((images - mean[:, None, None]) / std[:, None, None])
    embedding = expected_features @ state["feat.weight"].T
    embedding = F.batch_norm(
        embedding,
        state["feat_bn.running_mean"],
        state["feat_bn.running_var"],
        state["feat_bn.weight"],
        state["feat_bn.bias"],
    )
    expected_logits = embedding.relu() @ state["classifier_x2.weight"].T + state["classifier_x2.bias"]
    features, logits = small(images)
    torch.testing.assert_close(features, expected_features)
    torch.testing.assert_close(logits, expected_logits)
    assert not torch.allclose(features.norm(dim=1), torch.ones(4), atol=1e-2)


def test_dropout_acts_on_the_logits_in_training_only(small, images):
    small.train()
    small.feat_bn.eval()
    torch.nn.init.normal_(small.classifier_x2.weight)
    (first_features, first), (second_features, second) = small(images), small(images)
    assert torch.equal(first_features, second_features)
    assert not torch.allclose(first, second)
    small.eval()
    assert torch.equal(small(images)[1], small(images)[1])


def test_resmeta_is_the_resnet50_without_the_relu_of_the_stem(images):
    resnet, meta = models.create("resnet50", 3, seed=2).eval(), models.create("resMeta", 3, seed=3).eval()
    meta.load_state_dict(
        {
            key.replace("classifier_x2", "classifier"): value
            for key, value in resnet.state_dict().items()
            if "base.fc" not in key
        }
    )
    with torch.no_grad():
        features, logits = resnet(images)
        meta_features, _ = meta(images)
        assert (features - meta_features).abs().max() > 1e-3 * features.abs().max()
        meta.base.bn1.register_forward_hook(lambda module, inputs, output: output.relu())
        with_relu = meta(images)
    assert torch.equal(with_relu[0], features)
    assert torch.equal(with_relu[1], logits)


def test_the_unused_imagenet_head_is_never_trained(small, images):
    features, logits = small(images)
    (features.sum() + logits.sum()).backward()
    without_gradient = [name for name, parameter in small.named_parameters() if parameter.grad is None]
    assert without_gradient == ["base.fc.weight", "base.fc.bias"]
    assert not small.base.fc.weight.requires_grad


def test_a_model_from_scratch_starts_as_documented():
    model = models.create("resnet18", 200, seed=4)
    fan_out = 2048
    assert model.feat.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
    assert model.classifier_x2.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert not model.classifier_x2.bias.any()
    assert torch.equal(model.feat_bn.weight, torch.ones(2048))
    assert not model.feat_bn.bias.any()
    assert model.base.layer2[0].conv2.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert model.training


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (models.create("resnet10", 5, seed=seed).feat.weight for seed in (11, 11, 12))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_the_weights_come_from_the_global_generator():
    torch.manual_seed(3)
    first = models.create("resnet10", 5).feat.weight
    torch.manual_seed(3)
    assert torch.equal(first, models.create("resnet10", 5).feat.weight)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match=r"did you mean resMeta\?.*resnet50"):
        models.create("resmeta", 5)
    with pytest.raises(UsageError, match="num_classes is 0"):
        models.create("resnet10", 0)


def _unreachable(*args, **kwargs):
    raise URLError("Name or service not known")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A torch hub folder of its own and no way to download into it; returns where cached weights go."""
    monkeypatch.setattr(torch.hub, "download_url_to_file", _unreachable)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def test_pretrained_without_a_network_warns_and_stays_random(offline, caplog):
    with caplog.at_level(logging.WARNING):
        model = models.create("resnet18", 5, pretrained=True, seed=6)
    assert "no ImageNet weights for resnet18" in caplog.text
    assert "random weights" in caplog.text
    assert torch.equal(model.base.conv1.weight, models.create("resnet18", 5, seed=6).base.conv1.weight)


def test_pretrained_takes_the_weights_in_the_cache(offline, caplog):
    published = torchvision.models.resnet18().state_dict()
    torch.save(published, offline / "resnet18-f37072fd.pth")
    with caplog.at_level(logging.WARNING):
        model = models.create("resnet18", 5, pretrained=True)
    assert not caplog.records
    assert all(torch.equal(value, published[key]) for key, value in model.base.state_dict().items())


def test_pretrained_resmeta_takes_the_resnet50_weights_but_their_head(monkeypatch):
    published = models.create("resnet50", 1, seed=8).base.state_dict()
    monkeypatch.setattr(
        type(torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
        "get_state_dict",
        lambda *args, **kwargs: published,
    )
    model = models.create("resMeta", 5, pretrained=True)
    assert published.keys() - model.base.state_dict().keys() == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, published[key]) for key, value in model.base.state_dict().items())


def test_resnet10_has_no_pretrained_weights_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        models.create("resnet10", 5, pretrained=True)
    assert "resnet10 has no ImageNet weights" in caplog.text


def test_every_kind_of_derivative_can_be_taken(small, images):
    """Those of torch.func, forward mode, and third ones: nothing in the network may stand in their way."""
    small.eval()
    _, slope = torch.func.jvp(small.features, (images,), (torch.ones_like(images),))
    gradient = torch.func.grad(lambda x: small.features(x).sum())(images)
    torch.testing.assert_close(gradient.sum(), slope.sum(), rtol=1e-3, atol=1e-3)
    value, weight = small.features(images).square().sum(), small.base.conv1.weight
    for _ in range(3):
        (derivative,) = torch.autograd.grad(value, weight, create_graph=True)
        value = derivative.square().sum()
    assert derivative.abs().sum() > 0
