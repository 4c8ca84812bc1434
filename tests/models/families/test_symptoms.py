"""What users of re-ID models met in public trackers (repository#issue): none of it may happen here in silence.

Others have their place: an input without a camera code and grids of other sizes in families/test_transreid.py and
families/test_clip_reid.py, features of tiny crops in field/test_odd_pictures.py.
"""

import logging
from types import SimpleNamespace

import pytest
import torch
from drawn import drawn_state, read_golden
from torch import nn

from reid import CheckpointError, models
from reid.models.graphs import Contract, InBatches, Scores
from reid.models.inputs import InputSpec, preprocessing
from reid.models.sources import Source, open_model
from reid.models.victim import Victim


def golden(name):
    return drawn_state(read_golden(name)["keys"])


def test_a_stem_without_relu_is_said_and_both_are_computable(tmp_path, caplog):  # reid-strong-baseline#117
    torch.save(golden("strong_baseline-18"), tmp_path / "x.pth")
    with caplog.at_level(logging.INFO):
        plain = models.load_victim(tmp_path / "x.pth", preprocessing="own@64x32")
    assert "x.pth does not say which network it is; " in caplog.text
    assert "taken: bot-after; or: " in caplog.text
    assert "reid-strong-baseline (BoT)" in caplog.text
    with_relu = models.load_victim(tmp_path / "x.pth", preprocessing="own@64x32/torchvision-after")
    assert (plain.reading, with_relu.reading) == ("own@64x32", "own@64x32/torchvision-after")
    assert plain.fingerprint != with_relu.fingerprint


class NormalisesInside(nn.Module):
    """Takes 0..255, as fast-reid's networks."""

    def forward(self, images):
        return nn.functional.avg_pool2d((images - 110) / 55, 4).flatten(1).add(1).relu()


def test_a_network_that_normalises_inside_and_gets_the_unit_range_is_named(caplog):  # fast-reid#465
    spec = preprocessing("unit", 32, 16)
    Source("x", "ab", lambda variant: NormalisesInside(), lambda variant: spec).victim("255")
    assert not caplog.records
    Source("x", "ab", lambda variant: lambda images: NormalisesInside()(images) + 3, lambda variant: spec).victim()
    line, *_ = [record.getMessage() for record in caplog.records]
    assert "x gives different images features that hardly differ (cosines above" in line
    assert "a wrong range of values is the likely cause: as 255" in line


def test_how_images_are_resized_is_in_the_fingerprint_and_in_the_record(small, tmp_path):  # fast-reid#363
    kept = models.save_checkpoint(tmp_path / "x.pth", small, height=32, width=16)
    for resize in ("bilinear", "bicubic"):
        spec = InputSpec(32, 16, resize, "rgb", 1, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        (tmp_path / f"{resize}.json").write_text(spec.to_json())
    victims = [
        models.load_victim(kept, preprocessing=str(tmp_path / f"{name}.json")) for name in ("bilinear", "bicubic")
    ]
    assert len({victim.fingerprint for victim in victims}) == 2
    assert [victim.input.resize for victim in victims] == ["bilinear", "bicubic"]


def test_an_order_of_channels_is_part_of_the_input():  # torchreid#523
    red = Victim(lambda images: images[:, 0].flatten(1), preprocessing("unit-bgr", 8, 8))
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(red(images), images[:, 2].flatten(1))


def test_batches_that_give_other_features_are_taken_apart(caplog):  # torchreid#585
    def exported(images):
        return (images * torch.arange(1, len(images) + 1)[:, None, None, None]).flatten(1)

    spec = InputSpec(16, 8)
    victim = Source("x.onnx", "ab", lambda variant: exported, lambda variant: spec).victim()
    assert "x.onnx gives images in a batch other features than one by one" in caplog.text
    images = torch.rand(14, 3, 16, 8)
    assert torch.equal(victim(images), images.flatten(1))


@pytest.mark.parametrize("count", [1, 7, 8, 9, 11, 16])
def test_a_fixed_batch_is_filled_up_and_never_reshaped(count):  # boxmot#2231
    def eight(images):
        assert len(images) == 8
        return images.flatten(1)

    images = torch.rand(count, 3, 4, 4)
    (features,) = InBatches(eight, 8)(images)
    assert torch.equal(features, images.flatten(1))
    (scores,) = Scores(lambda array: [eight(torch.from_numpy(array)).numpy()], Contract(8, 4, 4), "graph")(images)
    assert torch.equal(scores, features)


def test_a_pickled_network_is_read_without_being_run(small, tmp_path):  # boxmot#2122
    torch.save(small, tmp_path / "whole.pth")
    torch.save({"state_dict": small.state_dict()}, tmp_path / "state.pth")
    whole, state = (models.load_victim(tmp_path / f"{name}.pth") for name in ("whole", "state"))
    assert whole.fingerprint == state.fingerprint


@pytest.mark.parametrize(  # boxmot#1282
    ("positions", "name"), [(211, "256x128, stride 12"), (257, "256x256, stride 16"), (129, "256x128, stride 16")]
)
def test_a_grid_is_read_from_the_file(positions, name):
    from reid.models.families.clip_reid import ClipReidFamily

    state = golden("clip_reid-small")
    state["image_encoder.positional_embedding"] = torch.zeros(positions, 128)
    assert ClipReidFamily().variants(state, {})[0].startswith(name)


def test_a_file_for_another_size_says_which_it_wants(tmp_path):  # CLIP-ReID#8
    state = golden("clip_reid-small")
    state["image_encoder.positional_embedding"] = torch.rand(24 * 8 + 1, 128)
    state.pop("cv_embed", None)
    torch.save(state, tmp_path / "x.pth")
    victim = models.load_victim(tmp_path / "x.pth", size=(256, 128))
    assert victim.input.size == (384, 128)
    assert victim(torch.rand(1, 3, 256, 128)).shape == (1, victim.feature_dim)
    state["image_encoder.positional_embedding"] = torch.rand(100, 128)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth is for another size"):
        models.load_victim(tmp_path / "x.pth")


def test_camera_codes_are_averaged_said_and_recorded(tmp_path, caplog):  # TransReID#82, Pose2ID#18
    torch.save(golden("clip_reid-small"), tmp_path / "x.pth")
    averaged = models.load_victim(tmp_path / "x.pth")
    assert "camera codes averaged; or: " in caplog.text
    variant = next(name for name in open_model(tmp_path / "x.pth").variants if name.endswith("camera code 1"))
    one = models.load_victim(tmp_path / "x.pth", preprocessing=f"own/{variant}")
    assert one.reading == f"own/{variant}"
    assert one.fingerprint != averaged.fingerprint


def test_a_pre_trained_teacher_is_unwrapped_or_nothing_of_it_is_taken(tmp_path):  # SOLIDER-REID#14
    state = golden("solider-small")
    torch.save({"teacher": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "x.pth")
    assert open_model(tmp_path / "x.pth").loaded("").startswith("183 tensors loaded, under 'teacher', 28")
    torch.save({"teacher": {"module.backbone.x": torch.zeros(3)}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        models.load_victim(tmp_path / "x.pth")


def test_of_teacher_and_student_the_teacher_is_taken_and_named(tmp_path, caplog):  # SOLIDER-PersonSearch#1
    teacher = golden("solider-small")
    student = {f"module.{key}": value + 1 for key, value in teacher.items()}
    raw = {"student": student, "teacher": teacher, "optimizer": {"state": {}}, "args": SimpleNamespace(arch="swin")}
    torch.save(raw, tmp_path / "x.pth")
    with caplog.at_level(logging.INFO):
        victim = models.load_victim(tmp_path / "x.pth")
    assert "tensors loaded, under 'teacher'" in caplog.text
    assert torch.equal(victim.model.base.norm3.bias, teacher["base.norm3.bias"])


def test_the_envelope_and_head_of_deep_sort(tmp_path, caplog):  # deep_sort_pytorch#134
    state = golden("deep_sort-original")
    head = {key: value[:1] if len(value) == 751 else value for key, value in state.items() if value.ndim}
    for name, content in {"many": state, "one": state | head}.items():
        torch.save({"net_dict": content, "acc": 0.9, "epoch": 39}, tmp_path / f"{name}.t7")
    with caplog.at_level(logging.INFO):
        many, one = (models.load_victim(tmp_path / f"{name}.t7") for name in ("many", "one"))
    assert "tensors loaded, under 'net_dict'" in caplog.text
    assert (many.arch, many.feature_dim, many.fingerprint) == (one.arch, 128, one.fingerprint)


@pytest.mark.parametrize("wrap", [lambda norm: [norm], lambda norm: {"a": (norm,)}])
def test_a_module_that_eval_does_not_reach_is_evaluated_all_the_same(wrap):  # TRADES#3
    class Training(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.hidden = wrap(self.norm)
            del self.norm

        def forward(self, images):
            held = self.hidden[0] if isinstance(self.hidden, list) else self.hidden["a"][0]
            return held(images).flatten(1)

    victim, images = Victim(Training(), InputSpec(8, 8)), torch.rand(6, 3, 8, 8)
    torch.testing.assert_close(victim(images), torch.cat([victim(image[None]) for image in images]))


def test_a_library_that_computes_something_else_changes_the_fingerprint():  # RobustBench#104
    def release(slope):
        return lambda variant: lambda images: nn.functional.leaky_relu(images - 0.5, slope).flatten(1)

    first, again, other = (
        Source("timm:net", "ab", release(slope), lambda variant: InputSpec(8, 8)).victim() for slope in (0.1, 0.1, 0.2)
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint
