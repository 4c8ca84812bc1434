"""Trained networks as files of the kind that they came in, which give their features."""

import sys
from pathlib import Path

import pytest
import tiny_networks
import torch

from reid import UsageError, models
from reid.models.adopted import Adopted, victim_of
from reid.models.returned import ReturnedOther
from reid.models.sources import open_model

sys.path.append(str(Path(__file__).parent / "families"))
from drawn import drawn_state, read_golden

KINDS = ["onnx", "function", "timm", "osnet-osnet_x0_25", "fastreid-bot-ibn18"]


@pytest.fixture
def spec(request, tmp_path, monkeypatch):
    """A small model of each kind; state dicts have a key of their own that no network has."""
    kind = request.param
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    if kind == "function":
        return "tiny_networks:shared"
    if kind == "timm":
        timm = pytest.importorskip("timm")
        torch.save(timm.create_model("resnet10t", num_classes=0).state_dict(), tmp_path / "t.pth")
        return f"timm:resnet10t:{tmp_path / 't.pth'}"
    if kind == "onnx":
        for package in ("onnx", "onnxruntime", "onnx2pytorch"):
            pytest.importorskip(package)
        return tiny_networks.write_onnx(tiny_networks.shared(), tmp_path / "x.onnx")
    torch.save({"state_dict": drawn_state(read_golden(kind)["keys"])}, tmp_path / "x.pth")
    return str(tmp_path / "x.pth")


def opened(spec):
    """The model as a victim of small images, and its source."""
    source = open_model(spec)
    kind = "onnx" if spec.endswith("onnx") else spec.partition(":")[0]
    return source.victim({"onnx": "half", "tiny_networks": "own", "timm": "own@64x64"}.get(kind, "own@64x32")), source


def trained(spec):
    """The model with its weights moved a little, as by training; its source; and how it is written back."""
    victim, source = opened(spec)
    model, returned = Adopted(victim, 3), ReturnedOther(source, victim)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 0.05 * torch.randn(weight.shape, generator=random))
    return model, source, returned


@pytest.mark.parametrize("spec", KINDS, indirect=True)
def test_a_file_gives_the_features_of_the_model_and_says_how_it_reads_images(spec, tmp_path):
    model, _, returned = trained(spec)
    path = tmp_path / f"model_best{returned.suffix}"
    returned.rehearse(model)
    returned.write(path, model, epoch=3)
    assert sorted(each.name for each in tmp_path.glob("*model_best*")) == [path.name, f"{path.name}.json"]
    again = models.load_victim(returned.spec(path))
    images = torch.rand(2, 3, *model.input.size)
    with torch.no_grad():
        expected, before, actual = victim_of(model)(images), opened(spec)[0](images), again(images)
    assert again.input == models.InputSpec.read(f"{path}.json") == model.input
    assert again.sha256 == returned.sha256(path)
    assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert (before - expected).abs().max() > 1e-3 * expected.abs().max()
    other = trained(spec)[0]
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    returned.read(path, other)
    assert torch.allclose(victim_of(other)(images), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("spec", ["fastreid-bot-ibn18", "cluster_contrast-spcl-dsbn"], indirect=True)
def test_a_checkpoint_keeps_all_its_keys(spec, tmp_path):
    model, source, returned = trained(spec)
    returned.write(tmp_path / "best.pth", model, epoch=3)
    content = torch.load(tmp_path / "best.pth", weights_only=True)
    assert content["epoch"] == 3
    assert content["state_dict"].keys() == source.checkpoint.state.keys()
    changed = [key for key, value in source.checkpoint.state.items() if not value.equal(content["state_dict"][key])]
    assert len(changed) == len(dict(model.base.named_parameters()))


@pytest.mark.parametrize("spec", ["onnx"], indirect=True)
def test_onnx_stays_the_graph_that_it_was(spec, tmp_path):
    onnx = pytest.importorskip("onnx")
    model, _, returned = trained(spec)
    returned.write(tmp_path / "best.onnx", model)
    before, after = onnx.load(spec).graph, onnx.load(str(tmp_path / "best.onnx")).graph
    for part in ("node", "input", "output"):
        assert getattr(before, part) == getattr(after, part)
    sizes = [[(each.name, list(each.dims)) for each in graph.initializer] for graph in (before, after)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("spec", ["onnx", "function"], indirect=True)
def test_a_file_that_would_differ_is_not_written(spec, tmp_path, monkeypatch):
    model, _, returned = trained(spec)
    monkeypatch.setattr("reid.models.returned.SAME", -1.0)
    with pytest.raises(UsageError, match="written back it gives features that differ by"):
        returned.write(tmp_path / "best.pth", model)
    assert not (tmp_path / "best.pth").exists()


def test_weights_that_cannot_be_told_in_the_file_are_refused(tmp_path):
    for package in ("onnx", "onnxruntime", "onnx2pytorch"):
        pytest.importorskip(package)

    class ThereAndBack(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(4, 3, 3, 3))

        def forward(self, images):
            there = torch.nn.functional.conv2d(images, self.weight)
            return torch.nn.functional.conv_transpose2d(there, self.weight).square().mean((2, 3))

    path = tiny_networks.write_onnx(ThereAndBack(), tmp_path / "x.onnx")
    source = open_model(path)
    with pytest.raises(UsageError, match=r"x\.onnx cannot be defended, since it could not be written back"):
        ReturnedOther(source, source.victim("unit"))


def test_a_function_without_weights_takes_no_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UsageError, match="tiny_networks:scores returns a function, which takes no weights"):
        open_model(f"tiny_networks:scores:{tmp_path / 'x.pth'}")
