"""TransReID and its relatives: the features of their own code, and files that are not what they seem."""

import logging

import pytest
import torch
import transformer_files as files
from transformer_files import features, renamed, state_of, without

from reid import CheckpointError, UsageError, models
from reid.models.families import FAMILIES

FAMILY = FAMILIES["transreid"]()


@pytest.fixture(scope="module")
def whole():
    """A jigsaw at stride 12 with 6 camera codes."""
    return state_of("transreid-jpm-sie")


@pytest.fixture(scope="module")
def plain():
    """A convolutional stem, no codes, no jigsaw, a feature that is reduced."""
    return state_of("transreid-ics")


@pytest.mark.parametrize("name", ["vit-s", "ics", "jpm-sie", "vehicle", "old-small"])
def test_features_are_those_of_the_public_code(name):
    files.check_golden(f"transreid-{name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["old-vit-s", "vit-b"])
def test_features_of_large_ones_are_those_of_the_public_code(name):
    files.check_golden(f"transreid-{name}")


@pytest.mark.parametrize("name", ["jpm-sie", "ics"])
def test_no_damage_is_silent(name):
    files.check_damages(f"transreid-{name}", head="classifier")


@pytest.mark.parametrize("name", ["ics", "jpm-sie"])
def test_batches_and_gradients(name):
    files.check_behaviour(f"transreid-{name}")


def test_camera_codes_are_averaged_unless_one_is_named(whole):
    variants = FAMILY.variants(whole, {})
    assert variants[0] == "256x128, stride 12, camera codes averaged"
    assert variants[1:] == tuple(f"256x128, stride 12, camera code {code}" for code in range(6))
    mean = whole["base.sie_embed"].mean(0, keepdim=True).expand(6, -1, -1)
    torch.testing.assert_close(features(whole), features(whole | {"base.sie_embed": mean}, variants[3]))
    assert not torch.allclose(features(whole), features(whole, variants[1]), atol=1e-2)


def test_another_number_of_cameras_is_read_from_the_file(whole):
    other = whole | {"base.sie_embed": torch.zeros(15, 1, 128)}
    assert len(FAMILY.variants(other, {})) == 16
    torch.testing.assert_close(features(other), features(without(whole, "base.sie_embed")))


@pytest.mark.parametrize(
    ("positions", "size", "stride"),
    [(129, (256, 128), 16), (211, (256, 128), 12), (243, (256, 128), 11), (311, (384, 128), 12), (442, (256, 256), 12)],
)
def test_size_and_stride_follow_from_the_positions(whole, positions, size, stride):
    other = without(whole, "base.sie_embed") | {"base.pos_embed": torch.zeros(1, positions, 128)}
    assert FAMILY.variants(other, {}) == (f"{size[0]}x{size[1]}, stride {stride}",)
    assert FAMILY.input(other, {}).size == size
    assert features(other, count=1).shape == (1, 640)


def test_a_grid_of_two_sizes_is_read_as_either(plain):
    assert FAMILY.variants(plain, {}) == ("384x128, stride 16", "256x192, stride 16")
    assert [FAMILY.input(plain, {}, name).size for name in ("", *FAMILY.variants(plain, {}))] == [
        *((384, 128), (384, 128)),
        (256, 192),
    ]
    assert not torch.allclose(features(plain), features(plain, "256x192, stride 16"), atol=1e-2)


def test_normalisation_is_that_of_the_authors(plain):
    spec = FAMILY.input(plain, {})
    assert (spec.mean, spec.std, spec.resize, spec.channels, spec.scale) == (
        (0.5,) * 3,
        (0.5,) * 3,
        "bilinear",
        "rgb",
        1,
    )


@pytest.mark.parametrize("prefix", ["base.fc.", "classifier", "bottleneck", "base.blocks.11.", "base.norm."])
def test_what_features_do_not_need_may_be_missing(whole, prefix):
    torch.testing.assert_close(features(without(whole, prefix)), features(whole))


def test_a_head_of_other_classes_and_half_precision(whole):
    torch.testing.assert_close(features(whole | {"classifier.weight": torch.zeros(5, 128)}), features(whole))
    half = {key: value.half() for key, value in whole.items()}
    torch.testing.assert_close(features(half), features(whole), rtol=0.05, atol=0.05)
    assert features(half).dtype == torch.float32


def test_the_report_names_what_is_not_used(whole):
    _, report = FAMILY.build(whole, "file.pth")
    tops = {".".join(key.split(".")[: 3 if ".blocks." in key else 2]) for key in report.unexpected}
    assert {"base.fc", "base.norm", "base.blocks.11", "classifier.weight", "bottleneck.weight"} <= tops
    assert not report.missing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "base.blocks.5."), r"12 tensors .*base.blocks.5.norm1.weight"),
        (lambda state: without(state, "base.blocks.10."), "12 tensors .*base.blocks.10"),
        (lambda state: without(state, "b1."), "14 tensors .*b1.0.norm1.weight"),
        (lambda state: without(state, "b1.", "b2."), "28 tensors"),
        (lambda state: without(state, "base.blocks.0.attn.qkv.bias"), "base.blocks.0.attn.qkv.bias"),
        (lambda state: state | {"base.sie_embed": torch.zeros(6, 1, 64)}, "base.sie_embed"),
        (lambda state: state | {"base.sie_embed": torch.tensor(1.0)}, "base.sie_embed"),
        (lambda state: state | {"base.blocks.3.mlp.fc1.weight": torch.zeros(4, 4)}, "base.blocks.3.mlp.fc1.weight"),
        (lambda state: state | {"base.cls_token": torch.zeros(1, 1, 192)}, "have another shape"),
        (lambda state: state | {"base.cls_token": torch.zeros(1, 1, 640_000)}, "have another shape"),
        (lambda state: state | {"base.pos_embed": torch.zeros(1, 501, 128)}, "for another size: .*256x128"),
        (lambda state: state | {"base.patch_embed.proj.weight": torch.zeros(128, 3, 14, 14)}, "for another size"),
        (
            lambda state: state | {"base.patch_embed.proj.weight": torch.zeros(128, 64, 8, 8)},
            "for another size|missing",
        ),
        (lambda state: renamed(state, "b1.0.", "b1.block."), r"is no transreid-128x12-stride12-jpm: .*b1.block"),
        (lambda state: state | {"base.blocks.12.norm1.weight": torch.zeros(128)}, "1 tensors that it does not have"),
        (lambda state: state | {"base.gem.p": torch.ones(1)}, "base.gem.p.*export the model to ONNX"),
    ],
)
def test_a_file_that_is_not_whole_or_another_network_is_refused(whole, change, message):
    state = change(dict(whole))
    with pytest.raises(CheckpointError, match=message) as error:
        FAMILY.build(state, "file.pth")
    assert str(error.value).startswith("file.pth")
    assert len(str(error.value)) <= 512


def test_a_stem_that_is_missing_is_refused(plain):
    with pytest.raises(CheckpointError, match=r"base\.patch_embed\.conv\.0\.weight"):
        FAMILY.build(without(plain, "base.patch_embed.conv."), "file.pth")


def test_an_unknown_variant_is_refused(whole):
    with pytest.raises(UsageError, match="did you mean 256x128, stride 12, camera code 5"):
        FAMILY.build(whole, "file.pth", "256x128, stride 12, camera code 6")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state | {"base.part_token1": torch.zeros(1, 1, 128)},  # PASS
        lambda state: renamed(state, "base.", "backbone."),
        lambda state: renamed(state, "base.", "base.base."),
        lambda state: without(state, "base.pos_embed"),
    ],
)
def test_other_keys_are_not_its_own(whole, change):
    assert not FAMILY.matches(change(dict(whole)))


def test_a_victim_from_a_file_says_which_network_was_taken(whole, tmp_path, caplog):
    torch.save({f"module.{key}": value for key, value in whole.items()}, tmp_path / "x.pth")
    with caplog.at_level(logging.WARNING):
        victim = models.load_victim(tmp_path / "x.pth")
    assert (
        "x.pth does not say which network it is; taken: 256x128, stride 12, camera codes averaged; or: " in caplog.text
    )
    assert (victim.arch, victim.input.size) == ("transreid-128x12-stride12-jpm", (256, 128))
    assert victim(torch.rand(2, 3, 64, 32)).shape == (2, 640)
    assert victim.differentiable
