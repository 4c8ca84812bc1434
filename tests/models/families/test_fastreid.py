"""fast-reid: bodies, heads of three releases, pooling and stems that keys tell or leave open, pixels of the file."""

import pytest
import torch
from drawn import drawn_images, drawn_state, read_golden
from golden import assert_golden

from reid import CheckpointError, UsageError, models
from reid.models.families.fastreid import FastReidFamily
from reid.models.families.parts import Body

FAMILY = FastReidFamily()


def state_of(name, **changes):
    """A state without values for the keys of a golden file; a change to None leaves a key out."""
    state = {key: torch.zeros(shape) for key, shape in read_golden(f"fastreid-{name}")["keys"].items()} | changes
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("bot", "resnet50"),
        ("agw", "resnet50"),
        ("sbs", "resnet50"),
        ("bot-ibn18", "resnet18_ibn_a"),
        ("bot-embedding", "resnet34"),
        pytest.param("bot-ibn101", "resnet101_ibn_a", marks=pytest.mark.slow),
        ("bot-resnext", "resnext50_32x4d"),
        ("sbs-resnest", "resnest50"),
        ("v0-agw", "resnet50"),
        ("v0-reduction", "resnet18"),
        ("v1-bot", "resnet18"),
    ],
)
def test_features_are_those_of_the_authors(name, arch):
    model, report = assert_golden(f"fastreid-{name}")
    assert model.arch == arch
    heads = {"heads.weight", "heads.classifier.weight", "pixel_mean", "pixel_std"}
    assert heads.issuperset(report.unexpected)
    assert any(key.startswith("heads.") for key in report.unexpected)


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("bot", {}, ("avg-3/2/ceil", "gem3-3/2/ceil")),
        ("agw", {}, ("gem3-3/2/ceil", "avg-3/2/ceil")),
        ("sbs", {}, ("gem-3/2/ceil",)),
        ("sbs", {"heads.pool_layer.p": None}, ("gem3-3/2/ceil", "avg-3/2/ceil")),
        ("bot", {"heads.weight": None}, ("avg-3/2/ceil", "gem3-3/2/ceil", "avg-3/2/1", "gem3-3/2/1")),
        ("v1-bot", {}, ("avg-3/2/ceil", "gem3-3/2/ceil", "avg-3/2/1", "gem3-3/2/1")),
        ("v0-agw", {}, ("gem-3/2/1",)),
        ("v0-reduction", {}, ("avg-3/2/1", "gem3-3/2/1")),
        ("bot-resnext", {}, ("avg-3/2/1", "gem3-3/2/1")),
        ("sbs-resnest", {}, ("gem-3/2/1",)),
    ],
)
def test_variants_are_what_keys_leave_open(name, changes, expected):
    state = state_of(name, **changes)
    assert FAMILY.matches(state)
    assert FAMILY.variants(state, {}) == expected
    for variant in expected:
        FAMILY.build(state, "x.pth", variant)


def test_variants_differ_and_the_first_is_the_default():
    golden = read_golden("fastreid-v1-bot")
    state = drawn_state(golden["keys"])
    images = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = [FAMILY.build(state, "x.pth", variant)[0](images) for variant in ("", *FAMILY.variants(state, {}))]
    torch.testing.assert_close(features[0], features[1])
    for place, first in enumerate(features[1:]):
        assert all((first - other).abs().max() > 1e-2 * first.abs().max() for other in features[place + 2 :])


def test_a_variant_that_there_is_not_is_refused():
    with pytest.raises(UsageError, match="no variant is called 'median-3/2/1'"):
        FAMILY.build(state_of("v1-bot"), "x.pth", "median-3/2/1")


def test_pixels_are_those_of_the_file_or_imagenet():
    usual = FAMILY.input(state_of("bot"), {})
    assert (usual.size, usual.resize, usual.scale) == ((256, 128), "bicubic", 255)
    assert usual.mean == pytest.approx((123.675, 116.28, 103.53))
    assert usual.std == pytest.approx((58.395, 57.12, 57.375))
    own = {"pixel_mean": torch.full((1, 3, 1, 1), 127.5), "pixel_std": torch.full((1, 3, 1, 1), 127.5)}
    assert FAMILY.input(state_of("bot", **own), {}).std == (127.5, 127.5, 127.5)
    with pytest.raises(UsageError, match="three numbers each"):
        FAMILY.input(state_of("bot", pixel_std=torch.ones(4)), {})


def test_a_file_with_an_exponent_is_taken_for_sbs():
    assert FAMILY.input(state_of("sbs"), {}).size == (384, 128)
    assert FAMILY.input(state_of("agw"), {}).size == (256, 128)


def test_non_local_blocks_follow_the_last_blocks_of_the_second_and_third_stage():
    """Nine of them in the third stage of a ResNet-101, whose features nobody computes here."""
    state = {"backbone.NL_2.0.g.weight": torch.zeros(4, 512, 1, 1)}
    for stage, blocks in enumerate((3, 4, 23, 3), 1):
        state |= {f"backbone.layer{stage}.{block}.conv3.weight": torch.zeros(1) for block in range(blocks)}
    with torch.device("meta"):
        body = Body(state, "x.pth", "backbone.", relu=True, pool="3/2/1")
    assert (len(body.NL_2), len(body.NL_3), body.NL_3[8].g.weight.shape) == (2, 9, (4, 1024, 1, 1))
    order = []
    for name, module in body.named_modules():
        if name.count(".") == 1 and name.startswith(("layer", "NL_")):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    body(torch.zeros(1, 3, 64, 32, device="meta"))
    assert order[3:9] == ["layer2.0", "layer2.1", "layer2.2", "NL_2.0", "layer2.3", "NL_2.1"]
    assert order[9 + 13 : 9 + 17] == ["layer3.13", "layer3.14", "NL_3.0", "layer3.15"]
    assert order[-5:] == ["layer3.22", "NL_3.8", "layer4.0", "layer4.1", "layer4.2"]


@pytest.mark.parametrize("name", ["v0-reduction", "sbs", "sbs-resnest"])
def test_gradients_reach_each_image_and_images_do_not_see_each_other(name):
    model, _ = FAMILY.build(drawn_state(read_golden(f"fastreid-{name}")["keys"]), "x.pth")
    images = drawn_images(64, 32, count=2).requires_grad_()
    features = model(images)
    torch.testing.assert_close(features[:1], model(images[:1]), rtol=1e-4, atol=1e-5 * features.abs().max().item())
    for place, feature in enumerate(features):
        (gradient,) = torch.autograd.grad(feature[:9].sum(), images, retain_graph=True)
        assert gradient.isfinite().all()
        assert [bool(image.any()) for image in gradient] == [place == 0, place == 1]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("agw", {"backbone.NL_2.1.g.weight": None}, r"is not whole: 1 tensors .*backbone\.NL_2\.1\.g\.weight"),
        ("agw", {"backbone.NL_3.2.theta.bias": torch.zeros(3)}, r"is not whole: .*NL_3\.2\.theta\.bias"),
        ("bot-ibn18", {"backbone.layer1.0.bn1.IN.weight": None}, r"layer1\.0\.bn1"),
        ("bot", {"heads.bottleneck.0.running_mean": None}, r"is not whole: 1 .*heads\.bottleneck\.0\.running_mean"),
        ("bot", {"backbone.layer1.0.se.fc.0.weight": torch.zeros(16, 256)}, r"tensors that it does not have .*se\.fc"),
        ("bot-embedding", {"heads.bottleneck.0.weight": torch.zeros(128, 512, 1, 1)}, r"heads\.bottleneck\.1"),
        ("sbs-resnest", {"backbone.layer4.2.conv2.fc2.bias": None}, r"is not whole: 1 .*layer4\.2\.conv2\.fc2\.bias"),
    ],
)
def test_what_is_lost_or_of_another_network_is_refused(name, changes, words):
    with pytest.raises(CheckpointError, match=words):
        FAMILY.build(state_of(name, **changes), "x.pth")


@pytest.mark.parametrize(
    "key", ["backbone.cls_token", "backbone.conv1.conv.weight", "backbone.stage0.rbr_dense.conv.weight"]
)
def test_another_body_is_refused_by_name(key, tmp_path):
    heads = {"heads.bottleneck.0.weight": torch.zeros(4), "heads.weight": torch.zeros(3, 4)}
    torch.save({key: torch.zeros(4), **heads}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=rf"fast-reid .*whose body \({key}\) is no ResNet.* export it to ONNX"):
        models.load_victim(tmp_path / "x.pth")


def test_mgn_is_refused_by_name(tmp_path):
    torch.save({"b1.0.0.conv1.weight": torch.zeros(4), "b1_head.weight": torch.zeros(4)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"is fast-reid's MGN, .* not read here; export it to ONNX"):
        models.load_victim(tmp_path / "x.pth")
