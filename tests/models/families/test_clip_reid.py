"""CLIP-ReID: the features of its own code, and files that are not what they seem."""

import logging

import pytest
import torch
import transformer_files as files
from transformer_files import features, renamed, state_of, without

from reid import CheckpointError, models
from reid.models.families import FAMILIES

FAMILY = FAMILIES["clip_reid"]()


@pytest.fixture(scope="module")
def whole():
    """With the text side, at stride 12, with 6 camera codes."""
    return state_of("clip_reid-small")


@pytest.fixture(scope="module")
def plain():
    """Without text side and codes, at stride 16."""
    return state_of("clip_reid-base")


@pytest.mark.parametrize("name", ["small", "base"])
def test_features_are_those_of_the_public_code(name):
    files.check_golden(f"clip_reid-{name}")


@pytest.mark.slow
def test_features_of_clips_vit_b_are_those_of_the_public_code():
    files.check_golden("clip_reid-vit-b")


def test_no_damage_is_silent():
    files.check_damages("clip_reid-small", head="classifier")


def test_batches_and_gradients():
    files.check_behaviour("clip_reid-small")


def test_camera_codes_are_averaged_unless_one_is_named(whole):
    variants = FAMILY.variants(whole, {})
    names = ["camera codes averaged", *(f"camera code {code}" for code in range(6))]
    assert variants == tuple(f"256x128, stride 12, {name}" for name in names)
    mean = whole["cv_embed"].mean(0, keepdim=True).expand(6, -1)
    torch.testing.assert_close(features(whole), features(whole | {"cv_embed": mean}, variants[3]))
    assert not torch.allclose(features(whole), features(whole, variants[1]), atol=1e-2)


@pytest.mark.parametrize(
    ("positions", "size", "stride"), [(129, (256, 128), 16), (211, (256, 128), 12), (257, (256, 256), 16)]
)
def test_size_and_stride_follow_from_the_positions(plain, positions, size, stride):
    other = plain | {"image_encoder.positional_embedding": torch.zeros(positions, 128)}
    assert FAMILY.variants(other, {}) == (f"{size[0]}x{size[1]}, stride {stride}",)
    assert (FAMILY.input(other, {}).size, FAMILY.input(other, {}).mean) == (size, (0.5, 0.5, 0.5))
    assert features(other, count=1).shape == (1, 192)


def test_heads_and_text_are_reported_and_not_needed(whole):
    unused = ("prompt_learner.", "text_encoder.", "classifier", "bottleneck")
    _, report = FAMILY.build(whole, "file.pth")
    assert {*report.unexpected} == {key for key in whole if key.startswith(unused)}
    torch.testing.assert_close(features(without(whole, *unused)), features(whole))
    other = whole | {"classifier.weight": torch.zeros(3, 128), "prompt_learner.cls_ctx": torch.zeros(3, 4, 512)}
    torch.testing.assert_close(features(other), features(whole))


def test_half_precision(whole):
    half = features({key: value.half() for key, value in whole.items()})
    torch.testing.assert_close(half, features(whole), rtol=0.05, atol=0.05)
    assert half.dtype == torch.float32


BLOCK = "image_encoder.transformer.resblocks."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, f"{BLOCK}11."), f"12 tensors .*{BLOCK}11"),
        (lambda state: without(state, "image_encoder.ln_post"), "2 tensors .*image_encoder.ln_post.weight"),
        (lambda state: state | {"image_encoder.proj": torch.zeros(64, 64)}, "image_encoder.proj"),
        (lambda state: state | {"cv_embed": torch.zeros(6, 64)}, "cv_embed"),
        (lambda state: state | {"image_encoder.class_embedding": torch.zeros(192)}, "have another shape"),
        (lambda state: state | {"image_encoder.positional_embedding": torch.zeros(50, 128)}, "for another size"),
        (lambda state: state | {"image_encoder.conv1.weight": torch.zeros(128, 3, 32, 32)}, "for another size"),
        (lambda state: state | {f"{BLOCK}12.ln_1.weight": torch.zeros(128)}, f"does not have .*{BLOCK}12"),
        (lambda state: renamed(state, "cv_embed", "camera_embed"), "does not have .*camera_embed"),
        (
            lambda state: {"image_encoder.attnpool.c_proj.weight": torch.zeros(4, 4)},
            "file.pth is the CNN of CLIP-ReID, .*; export it to ONNX, or take CLIP-ReID's ViT",
        ),
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
        lambda state: renamed(state, "image_encoder.", "visual."),  # CLIP itself
        lambda state: without(state, "image_encoder.positional_embedding"),
        lambda state: without(state, "image_encoder."),
    ],
)
def test_other_keys_are_not_its_own(whole, change):
    assert not FAMILY.matches(change(dict(whole)))


def test_a_victim_from_a_file(whole, plain, tmp_path, caplog):
    torch.save(whole, tmp_path / "x.pth")
    torch.save(plain, tmp_path / "plain.pth")
    with caplog.at_level(logging.WARNING):
        models.load_victim(tmp_path / "plain.pth")
        assert not caplog.records
        victim = models.load_victim(tmp_path / "x.pth")
    assert "taken: 256x128, stride 12, camera codes averaged; or: " in caplog.text
    assert (victim.arch, victim.input.size) == ("clip-reid-vit-b16-stride12", (256, 128))
    assert victim(torch.rand(2, 3, 64, 32)).shape == (2, 192)
    assert victim.differentiable
