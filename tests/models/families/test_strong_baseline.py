"""The strong baseline: four stems and two features with the same keys, and its bodies."""

import itertools

import pytest
import torch
from drawn import drawn_images, drawn_state, read_golden
from golden import assert_golden

from reid import CheckpointError, UsageError, models
from reid.models.families import FAMILIES
from reid.models.families.strong_baseline import StrongBaseline

FAMILY = StrongBaseline()


@pytest.fixture(scope="module")
def state():
    return drawn_state(read_golden("strong_baseline-18")["keys"])


@pytest.mark.parametrize(
    ("name", "variant", "arch"),
    [
        ("bot-after", "", "resnet50"),
        ("bot-before", "bot-before", "resnet50"),
        ("18", "", "resnet18"),
        ("ibn", "", "resnet50_ibn_a"),
        ("transreid-before", "transreid-before", "resnet50"),
        ("solider-before", "solider-before", "resnet50"),
        ("solider-reduced", "", "resnet50"),
    ],
)
def test_features_are_those_of_the_authors(name, variant, arch):
    model, report = assert_golden(f"strong_baseline-{name}", variant)
    assert model.arch == arch
    assert {"classifier.weight", "base.fc.weight", "base.fc.bias"}.issuperset(report.unexpected)


def test_all_variants_fit_the_keys_and_none_has_the_features_of_another(state):
    variants = FAMILY.variants(state, {})
    assert variants == (
        *("bot-after", "bot-before", "torchvision-after", "torchvision-before"),
        *("transreid-before", "transreid-after", "solider-before", "solider-after"),
    )
    images = drawn_images(128, 64, count=1)
    with torch.no_grad():
        features = [FAMILY.build(state, "x.pth", variant)[0](images) for variant in variants]
        torch.testing.assert_close(FAMILY.build(state, "x.pth")[0](images), features[0])
    for one, other in itertools.combinations(features, 2):
        assert (one - other).abs().max() > 0.01 * one.abs().max()


def test_instance_norm_and_a_reduction_tell_the_stem():
    keys = read_golden("strong_baseline-ibn")["keys"]
    assert FAMILY.variants(dict.fromkeys(keys), {}) == ("torchvision-after", "torchvision-before")
    keys = read_golden("strong_baseline-solider-reduced")["keys"]
    assert FAMILY.variants(dict.fromkeys(keys), {}) == ("solider-before", "solider-after")


@pytest.mark.parametrize("variant", ["bot", "bot-beside", "swin-after", "after"])
def test_a_variant_that_there_is_not_is_refused(variant, state):
    with pytest.raises(UsageError, match=f"no variant is called '{variant}'"):
        FAMILY.build(state, "x.pth", variant)


def test_a_victim_of_it(state, tmp_path):
    torch.save(state, tmp_path / "x.pth")
    victim = models.load_victim(tmp_path / "x.pth")
    assert (victim.arch, victim.feature_dim, victim.differentiable) == ("resnet18", 512, True)
    assert victim.feature == FAMILY.feature


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base.layer3.1.bn2.running_var": None}, r"is not whole: 1 .*layer3\.1\.bn2\.running_var"),
        ({"bottleneck.bias": None}, r"is not whole: 1 .*bottleneck\.bias"),
        ({"bottleneck.weight": torch.ones(2048)}, "is not whole: .*bottleneck"),
        ({"base.layer1.0.se_module.fc1.weight": torch.zeros(1)}, "tensors that it does not have"),
        ({"base.conv1.weight": torch.zeros(64, 3, 3, 3)}, r"is not whole: 1 .*base\.conv1\.weight"),
        ({"bottleneck_proj.weight": torch.zeros(1024)}, "tensors that it does not have"),
    ],
)
def test_what_is_lost_or_of_another_network_is_refused(changes, words, state):
    changed = {key: value for key, value in {**state, **changes}.items() if value is not None}
    with pytest.raises(CheckpointError, match=words):
        FAMILY.build(changed, "x.pth")


def test_an_se_body_is_refused_by_name(tmp_path):
    torch.save({"base.layer0.conv1.weight": torch.zeros(1), "bottleneck.weight": torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"is a strong baseline with an SE body, .* export it to ONNX"):
        models.load_victim(tmp_path / "x.pth")


def test_our_own_models_are_not_taken_for_it_nor_the_other_way(state):
    ours = models.create("resnet10", 5, seed=0).state_dict()
    assert not FAMILY.matches(ours)
    assert not FAMILY.matches(ours | {"bottleneck.weight": torch.ones(1)})
    assert not FAMILIES["resnet"]().matches(state)
