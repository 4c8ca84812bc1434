"""torchreid's ResNets, and what has nearly their keys."""

import logging

import pytest
import torch
from drawn import drawn_state, read_golden
from golden import assert_golden

from reid import CheckpointError, models
from reid.models.families.torchreid_resnet import TorchreidResNetFamily


@pytest.fixture(scope="module")
def state():
    return drawn_state(read_golden("torchreid_resnet-resnet18")["keys"])


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet34", "resnet50", "resnet50_fc512", "resnet50_ibn_a", "resnext50_32x4d"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet101", "resnet152", "resnext101_32x8d")),
    ],
)
def test_features_are_those_of_torchreid(name):
    model, report = assert_golden(f"torchreid_resnet-{name}")
    assert model.arch == name
    assert report.unexpected == ["classifier.weight", "classifier.bias"]


def test_the_last_stride_is_1_with_an_embedding_alone():
    strides = {}
    for name in ("resnet50", "resnet50_fc512"):
        shapes = read_golden(f"torchreid_resnet-{name}")["keys"]
        model, _ = TorchreidResNetFamily().build({key: torch.zeros(shape) for key, shape in shapes.items()}, "x.pth")
        strides[name] = model.layer4[0].conv2.stride, model.layer4[0].downsample[0].stride
    assert strides == {"resnet50": ((2, 2), (2, 2)), "resnet50_fc512": ((1, 1), (1, 1))}


def test_a_backbone_of_imagenet_is_named(state, tmp_path):
    renamed = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    renamed |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(renamed, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="is an ImageNet backbone, not a re-ID model"):
        models.load_victim(tmp_path / "x.pth")


def test_a_file_without_a_head_loads_with_a_warning(state, tmp_path, caplog):
    torch.save({key: value for key, value in state.items() if "classifier" not in key}, tmp_path / "x.pth")
    with caplog.at_level(logging.WARNING):
        victim = models.load_victim(tmp_path / "x.pth")
    assert victim.arch == "resnet18"
    assert "has no head: nothing tells whether it has ever seen people" in caplog.text


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("conv5.layers.0.weight", "torchreid's PCB"),
        ("fc_fusion.0.weight", "torchreid's resnet50mid"),
        ("layer1.2.IN.weight", "IBN-b"),
        ("layer1.0.se_module.fc1.weight", "SE-ResNet"),
        ("backone.0.conv.weight", "LightMBN, of boxmot"),
        ("head.bn_global.reduction.weight", "boxmot's own"),
        ("head.fc_out.weight", "mmtracking"),
    ],
)
def test_networks_with_nearly_the_same_keys_are_refused_by_name(key, words, state, tmp_path):
    torch.save({**state, key: torch.zeros(4, 4)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=rf"is .*{words}.* not read here; export it to ONNX"):
        models.load_victim(tmp_path / "x.pth")
