import logging
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from reid import CheckpointError, models


def save(path, content, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def prefixed(state):
    return OrderedDict((f"module.{key}", value) for key, value in state.items())


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


# What is read


def test_the_released_envelope_is_read_on_a_machine_without_a_gpu(data):
    state = models.read_checkpoint(data / "model_best_envelope.pth.tar")
    expected = np.load(data / "model_best_envelope_expected.npz")
    assert [f"module.{key}" for key in state] == expected.files
    for key, value in state.items():
        released = expected[f"module.{key}"]
        assert value.device.type == "cpu"
        assert value.numpy().dtype == released.dtype
        np.testing.assert_array_equal(value.numpy(), released)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "torch 1.3"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        prefixed,
        lambda state: {"state_dict": state},
        lambda state: {"state_dict": prefixed(state), "epoch": 85, "best_top1": np.float64(0.7)},
    ],
    ids=["bare", "module.", "wrapped", "released"],
)
def test_every_wrapping_of_a_state_dict_gives_the_same_model(wrap, legacy, small, tmp_path):
    path = save(tmp_path / "model.pth", wrap(small.state_dict()), legacy)
    model, report = models.load_model(path)
    assert (model.arch, model.num_classes, model.training) == ("resnet10", 7, False)
    assert same(model.state_dict(), small.state_dict())
    assert report == models.LoadReport(list(small.state_dict()), [], [], [])


def test_module_is_removed_only_in_front(tmp_path):
    keys = ["module.base.module.weight", "submodule.weight", "modules.bias"]
    path = save(tmp_path / "x.pth", {key: torch.zeros(1) for key in keys})
    assert list(models.read_checkpoint(path)) == ["base.module.weight", "submodule.weight", "modules.bias"]


@pytest.mark.parametrize(
    "content",
    [{"epoch": 3, "settings": {}, "model": {}}, [torch.zeros(1)], {}, {"state_dict": {}}, torch.zeros(2)],
)
def test_what_is_no_state_dict_is_refused(content, tmp_path):
    with pytest.raises(CheckpointError, match="holds no state dict"):
        models.read_checkpoint(save(tmp_path / "x.pth", content))


# What is refused


class Payload:
    """Unpickled without care, it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "torch 1.3"])
def test_code_in_a_file_is_never_run(legacy, small, tmp_path):
    marker = tmp_path / "ran"
    content = {"state_dict": small.state_dict(), "best_top1": Payload(marker)}
    path = save(tmp_path / "evil.pth", content, legacy)
    model, report = models.load_model(path)
    assert not marker.exists()
    assert same(model.state_dict(), small.state_dict())
    assert report.skipped == ["best_top1 (builtins.getattr)"]
    assert report.summary().endswith("1 skipped (best_top1 (builtins.getattr))")
    torch.load(path, weights_only=False)
    assert marker.exists(), "the payload of this test is dead"


@pytest.fixture(scope="module")
def wrong_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "page.pth").write_text("<!DOCTYPE html><html><body>Too many accesses</body></html>")
    (folder / "empty.pth").touch()
    (folder / "noise.pth").write_bytes(bytes(range(256)) * 8)
    (folder / "plain.pth").write_bytes(pickle.dumps({"state_dict": "no torch file"}, protocol=2))
    (folder / "folder.pth").mkdir()
    for legacy in (False, True):
        whole = save(folder / "whole.pth", models.create("resnet10", 2, seed=0).state_dict(), legacy).read_bytes()
        (folder / f"cut{int(legacy)}.pth").write_bytes(whole[: len(whole) // 2])
        (folder / f"stub{int(legacy)}.pth").write_bytes(whole[:40])
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("page", "web page"),
        ("empty", "empty"),
        ("noise", "damaged"),
        ("plain", "holds no state dict"),
        ("folder", "folder"),
        ("missing", "no such"),
        ("cut0", "damaged"),
        ("cut1", "damaged"),
        ("stub0", "damaged"),
        ("stub1", "damaged"),
    ],
)
def test_a_wrong_file_gets_one_clear_line(name, message, wrong_files):
    path = wrong_files / f"{name}.pth"
    with pytest.raises(CheckpointError, match=message) as caught:
        models.load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_attacker_is_no_model(data, small):
    with pytest.raises(CheckpointError, match="is an attacker"):
        models.load_checkpoint(small, data / "best_perturbation_type2.pth")


def test_the_shortened_envelope_is_no_whole_model(data, small):
    for load in (models.load_model, lambda path: models.load_checkpoint(small, path)):
        with pytest.raises(CheckpointError, match="blocks"):
            load(data / "model_best_envelope.pth.tar")


@pytest.mark.parametrize(
    "lost",
    [
        "base.conv1.weight",
        "base.layer2.0.bn1.running_mean",
        "feat.weight",
        "feat_bn.bias",
        "base.layer4.0.conv2.weight",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "reshaped"])
def test_a_backbone_that_is_not_whole_is_refused_and_the_model_untouched(lost, damage, small, tmp_path):
    state = models.create("resnet10", 7, seed=2).state_dict()
    tensor = state.pop(lost)
    if damage == "reshaped":
        state[lost] = tensor[:1]
    path = save(tmp_path / "x.pth", state)
    before = {key: value.clone() for key, value in small.state_dict().items()}
    with pytest.raises(CheckpointError, match=rf"not whole: 1 tensors .*{lost}"):
        models.load_checkpoint(small, path)
    assert same(small.state_dict(), before)
    with pytest.raises(CheckpointError, match="not whole"):
        models.load_model(path)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "torch 1.3"])
def test_a_download_cut_anywhere_is_refused(legacy, tmp_path):
    state = {"base.conv1.weight": torch.zeros(8), "feat.weight": torch.zeros(8)}
    whole = save(tmp_path / "whole.pth", {"state_dict": state, "best_top1": np.float64(0.7)}, legacy).read_bytes()
    for length in range(1, len(whole), 7):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            models.read_checkpoint(tmp_path / "cut.pth")


# What the report says


def test_a_head_for_other_identities_is_left_out_and_reported(small, tmp_path, caplog):
    other = models.create("resnet10", 12, seed=2)
    head = small.classifier_x2.weight.clone()
    path = save(tmp_path / "x.pth", other.state_dict())
    with caplog.at_level(logging.WARNING):
        report = models.load_checkpoint(small, path)
    assert report.mismatched == ["classifier_x2.weight", "classifier_x2.bias"]
    assert report.missing == report.unexpected == []
    assert set(report.loaded) == set(small.state_dict()) - set(report.mismatched)
    assert "2 mismatched (classifier_x2.weight, classifier_x2.bias)" in caplog.text
    assert torch.equal(small.classifier_x2.weight, head)
    assert torch.equal(small.feat.weight, other.feat.weight)


def test_batch_counters_and_the_imagenet_head_may_be_missing(small, tmp_path):
    state = small.state_dict()
    lost = [key for key in state if key.endswith("num_batches_tracked") or key.startswith("base.fc")]
    path = save(
        tmp_path / "x.pth",
        {key: value for key, value in state.items() if key not in lost} | {"extra": torch.zeros(1)},
    )
    report = models.load_checkpoint(models.create("resnet10", 7, seed=3), path)
    assert report.missing == lost
    assert report.unexpected == ["extra"]
    assert report.summary().startswith(f"{len(state) - len(lost)} tensors loaded, {len(lost)} missing (")
    assert report.summary().endswith("1 unexpected (extra)")


def test_a_file_without_a_head_goes_into_a_model_but_makes_none(small, tmp_path):
    headless = {key: value for key, value in small.state_dict().items() if "classifier" not in key}
    path = save(tmp_path / "x.pth", headless)
    assert models.load_checkpoint(small, path).missing == ["classifier_x2.weight", "classifier_x2.bias"]
    with pytest.raises(CheckpointError, match="create a resnet10 and use load_checkpoint"):
        models.load_model(path)


def test_model_and_path_may_come_in_either_order(small, tmp_path):
    path = models.save_checkpoint(tmp_path / "x.pth", models.create("resnet10", 7, seed=2))
    assert models.load_checkpoint(small, path) == models.load_checkpoint(str(path), small)
    assert models.load_checkpoint(path=path, model=small).missing == []
    for wrong in ((small, small), (path, path), (torch.nn.Linear(1, 1), path)):
        with pytest.raises(TypeError, match=r"a model of reid\.models\.create and the path"):
            models.load_checkpoint(*wrong)


# Which network takes which file


def test_another_depth_is_refused_by_name(small, skeleton, tmp_path):
    tiny = {key: torch.zeros(1, 1) for key in skeleton("resnet34", 3).state_dict()}
    with pytest.raises(CheckpointError, match="is a resnet34 and the model a resnet10; create resnet34"):
        models.load_checkpoint(small, save(tmp_path / "x.pth", tiny))


def test_a_resmeta_file_does_not_go_into_a_resnet50(skeleton, tmp_path):
    tiny = {key: torch.zeros(1, 1) for key in skeleton("resMeta", 3).state_dict()}
    with pytest.raises(CheckpointError, match=r"stem has no ReLU.*create resMeta"):
        models.load_checkpoint(skeleton("resnet50", 3), save(tmp_path / "x.pth", tiny))


def test_a_resnet50_file_starts_a_resmeta_with_a_warning(tmp_path, caplog):
    source, model = models.create("resnet50", 3, seed=1), models.create("resMeta", 3, seed=2)
    head = model.classifier.weight.clone()
    with caplog.at_level(logging.WARNING):
        report = models.load_checkpoint(model, save(tmp_path / "x.pth", source.state_dict()))
    assert "whose stem has no ReLU" in caplog.text
    assert report.missing == ["classifier.weight", "classifier.bias"]
    assert report.unexpected == [
        "base.fc.weight",
        "base.fc.bias",
        "classifier_x2.weight",
        "classifier_x2.bias",
    ]
    assert report.mismatched == []
    assert same(
        {key: model.state_dict()[key] for key in report.loaded},
        {key: source.state_dict()[key] for key in report.loaded},
    )
    assert torch.equal(model.classifier.weight, head)


# What is written


def test_a_saved_model_comes_back_bit_for_bit(small, images, tmp_path):
    small(images)  # moves the batch statistics
    path = models.save_checkpoint(tmp_path / "new" / "model.pth", small, epoch=3)
    model, report = models.load_model(path)
    assert same(model.state_dict(), small.state_dict())
    assert report.missing == report.unexpected == report.mismatched == []
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model(images), small.eval()(images), strict=True))
    assert list(path.parent.iterdir()) == [path]


def test_metadata_becomes_plain_so_that_anyone_can_read_the_file(small, tmp_path):
    metadata = {
        "epoch": np.int64(3),
        "mAP": np.float64(0.5),
        "size": (256, 128),
        "eps": {"color": 8 / 255},
        "note": None,
    }
    path = models.save_checkpoint(tmp_path / "x.pth", small, **metadata)
    content = torch.load(path, weights_only=True)
    assert list(content)[:3] == ["state_dict", "arch", "num_classes"]
    assert (content["arch"], content["num_classes"]) == ("resnet10", 7)
    assert {key: content[key] for key in metadata} == metadata
    assert [type(content[key]) for key in ("epoch", "mAP")] == [int, float]


def test_what_cannot_be_written_leaves_the_old_file(small, tmp_path):
    path = models.save_checkpoint(tmp_path / "x.pth", small)
    before = path.read_bytes()
    for metadata in ({"folder": tmp_path}, {"values": [torch.zeros(1)]}, {"arch": "resnet50"}):
        with pytest.raises(TypeError):
            models.save_checkpoint(path, small, **metadata)
    with pytest.raises(TypeError, match=r"a model of reid\.models\.create"):
        models.save_checkpoint(path, torch.nn.Linear(1, 1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
