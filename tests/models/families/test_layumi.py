"""layumi's baseline: the last stride that keys cannot tell, the mirror image, PCB, and bodies that are refused."""

import logging

import pytest
import torch
from drawn import drawn_images, drawn_state, read_golden
from golden import assert_golden

from reid import CheckpointError, UsageError
from reid.models.families.layumi import LayumiFamily, last_stride


@pytest.fixture(scope="module")
def zeros():
    """`zeros(name)`: a state without values for the keys of a golden file."""
    return lambda name: {key: torch.zeros(shape) for key, shape in read_golden(f"layumi-{name}")["keys"].items()}


@pytest.mark.parametrize(
    ("name", "variant", "arch"),
    [
        ("stride2", "", "layumi-resnet50-stride2"),
        ("stride1", "stride 1", "layumi-resnet50-stride1"),
        ("linear0", "stride 2", "layumi-resnet50-stride2"),
        ("ibn", "", "layumi-resnet50_ibn_a-stride2"),
        ("pcb", "", "layumi-pcb"),
    ],
)
def test_features_are_those_of_the_authors(name, variant, arch):
    model, report = assert_golden(f"layumi-{name}", variant)
    assert model.arch == arch
    assert all(key.startswith(("model.fc.", "classifier")) for key in report.unexpected)


def test_the_stride_is_read_beside_the_file(zeros, tmp_path, caplog):
    (tmp_path / "opts.yaml").write_text("linear_num: 512\nstride: 1\nwarm_epoch: 5\n")
    with caplog.at_level(logging.WARNING):
        model, _ = LayumiFamily().build(zeros("stride1"), tmp_path / "net_last.pth")
    assert model.arch == "layumi-resnet50-stride1"
    assert not caplog.records


@pytest.mark.parametrize("text", [None, "", "stride: 3\n", "# stride: 1\n", "last_stride: 1\n", "\x00\xff"])
def test_a_stride_that_nothing_says_is_2_with_a_warning(text, tmp_path, caplog):
    if text is not None:
        (tmp_path / "opts.yaml").write_text(text, encoding="latin1")
    with caplog.at_level(logging.WARNING):
        assert last_stride(tmp_path / "net_last.pth", "") == 2
    assert "keys cannot tell; its opts.yaml beside it would" in caplog.text


def test_variants_are_the_two_strides(zeros):
    family = LayumiFamily()
    names = family.variants(zeros("stride2"), {})
    assert names == ("stride that opts.yaml says, or 2", "stride 1")
    assert [last_stride("net_last.pth", name) for name in (*names, "stride 2")] == [2, 1, 2]
    assert family.variants(zeros("pcb"), {}) == ("",)
    with pytest.raises(UsageError, match="no variant is called 'stride 4'"):
        last_stride("net_last.pth", "stride 4")


def test_an_image_and_its_mirror_image_have_the_same_feature(zeros):
    state = drawn_state({key: value.shape for key, value in zeros("pcb").items()})
    model, _ = LayumiFamily().build(state, "net_last.pth")
    images = drawn_images(48, 24)
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(images.flip(3)))


@pytest.mark.parametrize("body", ["patch_embed.proj.weight", "features.conv0.weight", "stem.0.weight"])
def test_another_body_is_refused_by_name(body, zeros):
    state = {f"model.{body}": torch.zeros(4), "classifier.add_block.0.weight": torch.zeros(512, 1024)}
    assert LayumiFamily().matches(state)
    with pytest.raises(
        CheckpointError, match=rf"baseline whose body \(model\.{body}\) is no ResNet; export it to ONNX"
    ):
        LayumiFamily().build(state, "net_last.pth")


def test_hrnet_and_usam_are_no_resnet50(zeros):
    for key in ("model.transition1.0.0.weight", "usam_1.weight"):
        with pytest.raises(CheckpointError, match=f"tensors that it does not have .*{key}"):
            LayumiFamily().build({**zeros("stride2"), key: torch.zeros(1)}, "net_last.pth", "stride 2")


def test_averaged_weights_load(zeros):
    state = {**zeros("stride2"), "n_averaged": torch.tensor(3)}
    assert LayumiFamily().matches(state)
    assert "n_averaged" in LayumiFamily().build(state, "net_average.pth", "stride 2")[1].unexpected
