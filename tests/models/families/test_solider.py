"""SOLIDER: the features of its own code, and files that are not what they seem."""

import logging

import pytest
import torch
import transformer_files as files
from drawn import drawn_images, drawn_state, read_golden, summary
from transformer_files import features, renamed, state_of, without

from reid import CheckpointError, UsageError, models
from reid.models.families import FAMILIES

FAMILY = FAMILIES["solider"]()


@pytest.fixture(scope="module")
def whole():
    return state_of("solider-small")


@pytest.mark.parametrize("name", ["small", "small-weight-1", "swin-t"])
def test_features_are_those_of_the_public_code(name):
    files.check_golden(f"solider-{name}")


def test_sides_that_do_not_come_out_even_are_padded():
    golden = read_golden("solider-small-odd")
    network, _ = FAMILY.build(drawn_state(golden["keys"]), "file.pth")
    with torch.no_grad():
        ours = summary(network((drawn_images(250, 130) - 0.5) / 0.5))
    torch.testing.assert_close(torch.tensor(ours["values"]), torch.tensor(golden["features"]["values"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin-s", "swin-b"])
def test_features_of_large_ones_are_those_of_the_public_code(name):
    files.check_golden(f"solider-{name}")


def test_no_damage_is_silent():
    files.check_damages("solider-small", head="classifier.")


def test_batches_and_gradients():
    files.check_behaviour("solider-small")


def test_the_semantic_weight_is_a_variant(whole):
    assert FAMILY.variants(whole, {}) == ("semantic weight 0.2", "semantic weight 1")
    assert torch.equal(features(whole), features(whole, "semantic weight 0.2"))
    assert not torch.allclose(features(whole), features(whole, "semantic weight 1"), atol=1e-2)
    with pytest.raises(UsageError, match=r"no variant is called 'semantic weight 0\.3'; did you mean"):
        FAMILY.build(whole, "file.pth", "semantic weight 0.3")


def test_input_is_that_of_the_authors(whole):
    spec = FAMILY.input(whole, {})
    assert (spec.size, spec.mean, spec.std, spec.resize) == ((384, 128), (0.5,) * 3, (0.5,) * 3, "bilinear")


def test_what_features_do_not_need_may_be_missing(whole):
    unused = ("classifier.", "bottleneck.", "base.norm0.", "base.semantic_embed_w.3.")
    indices = tuple(key for key in whole if key.endswith("relative_position_index"))
    torch.testing.assert_close(features(without(whole, *unused, *indices)), features(whole))
    torch.testing.assert_close(features(whole | {"classifier.weight": torch.zeros(3, 256)}), features(whole))
    _, report = FAMILY.build(whole, "file.pth")
    assert {"classifier.weight", "bottleneck.weight", "base.norm0.weight", *indices} <= {*report.unexpected}


def test_half_precision(whole):
    half = features({key: value.half() for key, value in whole.items()})
    torch.testing.assert_close(half, features(whole), rtol=0.05, atol=0.05)
    assert half.dtype == torch.float32


TABLE = "attn.w_msa.relative_position_bias_table"  # of which a message shows the beginning


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "base.stages.2.blocks.5."), r"13 tensors .*base.stages.2.blocks.5"),
        (lambda state: without(state, "base.stages.1."), "tensors .*base.stages.1.blocks.0"),
        (lambda state: without(state, "base.norm3."), "2 tensors .*base.norm3.weight"),
        (lambda state: without(state, "base.semantic_embed_w.0."), "base.semantic_embed_w.0.weight"),
        (lambda state: without(state, "base.semantic_embed_"), "12 tensors .*base.semantic_embed"),
        (lambda state: state | {f"base.stages.0.blocks.0.{TABLE}": torch.zeros(529, 1)}, TABLE[:30]),
        (lambda state: state | {f"base.stages.3.blocks.1.{TABLE}": torch.zeros(169, 4)}, TABLE[:30]),
        (lambda state: state | {"base.patch_embed.projection.weight": torch.zeros(48, 3, 4, 4)}, "have another shape"),
        (lambda state: state | {"base.absolute_pos_embed": torch.zeros(1, 32, 96, 32)}, "export the model to ONNX"),
        (lambda state: state | {"base.stages.2.blocks.6.norm1.weight": torch.zeros(128)}, "tensors .*blocks.6"),
        (lambda state: state | {"base.stages.2.blocks.18.norm1.weight": torch.zeros(128)}, "does not have .*blocks.18"),
    ],
)
def test_a_file_that_is_not_whole_or_another_network_is_refused(whole, change, message):
    state = change(dict(whole))
    with pytest.raises(CheckpointError, match=message) as error:
        FAMILY.build(state, "file.pth")
    assert str(error.value).startswith("file.pth")
    assert len(str(error.value)) <= 512


@pytest.mark.parametrize(
    "change",
    [
        lambda state: renamed(state, "base.", "model.base."),  # TAO's
        lambda state: renamed(state, "base.stages.", "base.layers."),
        lambda state: without(state, "base.patch_embed."),
    ],
)
def test_other_keys_are_not_its_own(whole, change):
    assert not FAMILY.matches(change(dict(whole)))


def test_a_victim_from_a_file_says_which_weight_was_taken(whole, tmp_path, caplog):
    torch.save(whole, tmp_path / "x.pth")
    with caplog.at_level(logging.WARNING):
        victim = models.load_victim(tmp_path / "x.pth")
    assert "taken: semantic weight 0.2; or: semantic weight 1" in caplog.text
    assert (victim.arch, victim.input.size) == ("solider-swin-32x12", (384, 128))
    assert victim(torch.rand(2, 3, 64, 32)).shape == (2, 256)
    assert victim.differentiable
