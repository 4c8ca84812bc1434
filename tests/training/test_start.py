"""What a defence may start from."""

import pytest
import torch

from reid import CheckpointError, UsageError, models
from reid.training.start import starting_checkpoint


@pytest.mark.parametrize("spec", ["timm:resnet10t", "torchscript:x.ts", "exported:x.pt2", "package.module:function"])
def test_models_that_are_no_checkpoints_are_refused(spec):
    with pytest.raises(UsageError, match="cannot be defended, only the ResNets of this project can; give a checkpoint"):
        starting_checkpoint(spec)


def test_graphs_are_refused(tmp_path):
    (tmp_path / "x.xml").write_text('<?xml version="1.0"?><net name="x" version="11"><layers/></net>')
    with pytest.raises(UsageError, match=r"x\.xml \(openvino\) cannot be defended"):
        starting_checkpoint(str(tmp_path / "x.xml"))


def test_a_checkpoint_of_another_family_is_named(tmp_path):
    torch.save({"conv.0.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(
        CheckpointError, match="of the family deep_sort, no ResNet of this project; it can be evaluated"
    ):
        _ = starting_checkpoint(str(tmp_path / "x.pth")).layout


def test_ours_is_read(tmp_path):
    path = models.save_checkpoint(tmp_path / "x.pth", models.create("resnet10", 3, seed=0))
    assert starting_checkpoint(str(path)).layout == ("resnet10", 3)
