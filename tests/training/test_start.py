"""What a defence may start from."""

import pytest
import torch
from zoo_entries import write_entry

from reid import CheckpointError, UsageError, models
from reid.models.zoo import entries
from reid.training.start import is_ours, open_start, starting_model


@pytest.mark.parametrize("spec", ["torchscript:x.ts", "exported:x.pt2"])
def test_models_that_could_not_be_written_back_are_refused(spec):
    with pytest.raises(UsageError, match="cannot be defended, only checkpoint, onnx, timm, function models can; give"):
        open_start(spec)


def test_openvino_is_refused_whatever_it_is_called(tmp_path, monkeypatch):
    content = '<?xml version="1.0"?><net name="x" version="11"><layers/></net>'
    (tmp_path / "x.xml").write_text(content)
    monkeypatch.setattr(entries, "FOLDER", tmp_path / "zoo")
    write_entry(tmp_path / "zoo", "x", files=[{"name": "x.xml", "bytes": len(content), "sha256": None}])
    for spec, name in ((str(tmp_path / "x.xml"), r"x\.xml"), ("zoo:x", "zoo:x")):
        with pytest.raises(UsageError, match=rf"{name} \(openvino\) cannot be defended"):
            open_start(spec, tmp_path)


def test_a_checkpoint_of_another_family_is_not_ours(tmp_path):
    torch.save({"conv.0.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "x.pth")
    assert not is_ours(open_start(str(tmp_path / "x.pth")))


def test_ours_is_read(tmp_path):
    path = models.save_checkpoint(tmp_path / "x.pth", models.create("resnet10", 3, seed=0))
    source = open_start(str(path))
    assert is_ours(source)
    assert source.checkpoint.layout == ("resnet10", 3)


def test_what_belongs_to_no_family_is_told_so(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "x.pth")
    source = open_start(str(tmp_path / "x.pth"))
    assert is_ours(source)
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        starting_model(source.checkpoint, 3)
