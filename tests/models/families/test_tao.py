"""NVIDIA TAO's ResNets: the prefix of Lightning, the convolution that narrows the feature, the deviation."""

import pytest
import torch
from drawn import read_golden
from golden import assert_golden, family_of

from reid import CheckpointError, models
from reid.models.families.tao import Tao

FAMILY = Tao()


@pytest.fixture(scope="module")
def state():
    return {key: torch.zeros(shape) for key, shape in read_golden("tao-256")["keys"].items()}


@pytest.mark.parametrize("name", ["256", "2048"])
def test_features_are_those_of_the_authors(name):
    model, report = assert_golden(f"tao-{name}")
    assert model.arch == "resnet50"
    assert report.unexpected == ["classifier.weight"]


def test_the_deviation_is_the_same_in_all_channels(state):
    assert FAMILY.input(state, {}).std == (0.226, 0.226, 0.226)


def test_the_prefix_may_be_gone_where_the_narrow_feature_tells_it(state):
    bare = {key.removeprefix("model."): value for key, value in state.items()}
    assert family_of(bare)[0] == "tao"
    assert FAMILY.build(bare, "x.pth")[1].missing == []


def test_criteria_of_its_training_are_ignored(state):
    report = FAMILY.build({**state, "center_criterion.centers": torch.zeros(9, 256)}, "x.pth")[1]
    assert report.unexpected == ["classifier.weight", "center_criterion.centers"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.base.feature.bias": None}, r"is not whole: 1 .*base\.feature\.bias"),
        ({"model.base.feature.weight": None}, r"is not whole: 1 .*base\.feature\.weight"),
        ({"model.bottleneck.weight": torch.ones(512)}, "is not whole: .*bottleneck"),
        ({"model.base.NL_2.0.g.weight": torch.zeros(1, 512, 1, 1)}, r"is not whole: .*base\.NL_2\.0"),
        ({"model.fcneck.bias": torch.zeros(256)}, r"tensors that it does not have .*fcneck\.bias"),
    ],
)
def test_what_is_lost_or_of_another_network_is_refused(changes, words, state):
    changed = {key: value for key, value in {**state, **changes}.items() if value is not None}
    with pytest.raises(CheckpointError, match=words):
        FAMILY.build(changed, "x.pth")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("model.base.patch_embed.projection.weight", "TAO's ReIdentificationNet with a Swin"),
        ("image_encoder.avg_proj.weight", "PLIP with its ResNet"),
        ("image_encoder.backbone.conv1.weight", "PLIP with its ViT"),
        ("base.part_token1", "PASS, a transformer with tokens for parts"),
    ],
)
def test_networks_without_a_file_of_their_own_are_refused_by_name(key, words, tmp_path):
    torch.save({key: torch.zeros(4, 4)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=rf"is .*{words}.* not read here; export it to ONNX"):
        models.load_victim(tmp_path / "x.pth")
