"""Cluster-contrast and its relatives: the stem is told by the place of the blocks, the norm of the target is taken."""

import pytest
import torch
from drawn import drawn_images, drawn_state, read_golden
from golden import assert_golden, family_of

from reid import CheckpointError, UsageError, models
from reid.models.families.cluster_contrast import ClusterContrast

FAMILY = ClusterContrast()


@pytest.mark.parametrize(
    ("name", "variant", "arch"),
    [
        ("gem", "", "resnet50"),
        ("max", "max", "resnet50"),
        ("ibn", "", "resnet50_ibn_a"),
        ("mmt", "", "resnet50"),
        ("spcl-dsbn", "", "resnet50"),
    ],
)
def test_features_are_those_of_the_authors(name, variant, arch):
    model, report = assert_golden(f"cluster_contrast-{name}", variant)
    assert model.arch == arch
    assert {"classifier.weight"}.issuperset(report.unexpected)


@pytest.fixture(scope="module")
def mmt():
    return drawn_state(read_golden("cluster_contrast-mmt")["keys"])


def test_the_first_block_tells_the_stem(mmt):
    with_relu = {
        f"base.{int(key[5]) + 1}{key[6:]}" if key.startswith("base.") and int(key[5]) > 1 else key: value
        for key, value in mmt.items()
    }
    networks = [FAMILY.build(state, "x.pth")[0] for state in (mmt, with_relu)]
    assert [type(network.base[2]).__name__ for network in networks] == ["MaxPool2d", "ReLU"]
    images = drawn_images(64, 32)
    with torch.no_grad():
        one, other = (network(images) for network in networks)
    assert (one - other).abs().max() > 1e-3
    torch.testing.assert_close(one.norm(dim=1), torch.ones(3))


def test_a_file_without_its_exponent_leaves_the_pooling_open(mmt):
    gem = {**mmt, "gap.p": torch.ones(1)}
    assert FAMILY.variants(gem, {}) == ("gem",)
    assert FAMILY.variants(mmt, {}) == ("avg", "max")
    assert family_of(mmt)[0] == family_of(gem)[0] == "cluster_contrast"
    with pytest.raises(UsageError, match="no variant is called 'median'"):
        FAMILY.build(mmt, "x.pth", "median")


def test_a_file_as_its_authors_save_it(mmt, tmp_path):
    content = {"state_dict": {f"module.{key}": value for key, value in mmt.items()}, "epoch": 40, "best_mAP": 0.8}
    torch.save(content, tmp_path / "model_best.pth.tar")
    victim = models.load_victim(tmp_path / "model_best.pth.tar")
    assert (victim.arch, victim.feature_dim, victim.input.resize) == ("resnet50", 2048, "bicubic")
    images = drawn_images(128, 64).requires_grad_()
    (gradient,) = torch.autograd.grad(victim(images)[:, :9].sum(), images)
    assert gradient.isfinite().all()
    assert gradient.abs().flatten(1).sum(dim=1).min() > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"base.6.2.bn3.bias": None},
            r"is not whole: 1 .*base\.6\.2\.bn3\.bias",
        ),
        ({"feat_bn.running_var": None}, r"is not whole: 1 .*feat_bn\.running_var"),
        ({"feat.weight": torch.zeros(256, 2048)}, r"is not whole: .*feat\.bias"),
        ({"gap.p": torch.ones(3)}, r"is not whole: 1 .*gap\.p"),
        ({"base.2.weight": torch.zeros(64)}, r"tensors that it does not have .*base\.2\.weight"),
    ],
)
def test_what_is_lost_or_of_another_network_is_refused(changes, words, mmt):
    state = {key: value for key, value in {**mmt, **changes}.items() if value is not None}
    with pytest.raises(CheckpointError, match=words):
        FAMILY.build(state, "x.pth")


def test_a_stage_that_is_lost_is_missed(mmt):
    state = {key: value for key, value in mmt.items() if not key.startswith("base.5.")}
    with pytest.raises(CheckpointError, match=r"has \[3, 4, 0, 3\] blocks"):
        FAMILY.build(state, "x.pth")
