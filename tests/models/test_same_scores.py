"""Models that come as code give the mAP that they give outside of this project."""

import pytest
import torch
from crowd import drawn_people, score
from torch import nn

from reid import models
from reid.models import InputSpec
from reid.models.formats import export
from reid.models.readings import IMAGENET_MEAN, IMAGENET_STD

SIZE = (64, 32)
READING = InputSpec(*SIZE, resize=None, mean=IMAGENET_MEAN, std=IMAGENET_STD)
FUNCTION = """
from reid import models

def network():
    model, _ = models.load_model("ours.pth")
    return lambda images: model(images)[0]
"""


@pytest.fixture
def ours(small, tmp_path, monkeypatch):
    """A network of ours in the current folder: its mAP on drawn people, and they."""
    monkeypatch.chdir(tmp_path)
    models.save_checkpoint("ours.pth", small, height=SIZE[0], width=SIZE[1])
    people = drawn_people(*SIZE)
    return score(lambda images: small.eval()(images)[0], people), people


def assert_same(spec, expected, people, **options):
    assert 0.1 < expected < 0.99
    assert score(models.load_victim(spec, **options), people) == pytest.approx(expected, abs=1e-4)


def test_a_function(ours, tmp_path, monkeypatch):
    (tmp_path / "same_scores.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(tmp_path)
    assert_same("same_scores:network", *ours, preprocessing="unit", size=SIZE)


def test_a_torchscript_file(ours):
    export("ours.pth", "torchscript", "ours.ts")
    assert_same("torchscript:ours.ts", *ours)


def test_an_exported_program(ours, small, tmp_path):
    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = small.eval()
            self.model.normalise = nn.Identity()

        def forward(self, images):
            return self.model(images)[0]

    free = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(Features(), (torch.rand(2, 3, *SIZE),), dynamic_shapes=free), "ours.pt2")
    (tmp_path / "ours.pt2.json").write_text(READING.to_json())
    assert_same("exported:ours.pt2", *ours)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t"])
def test_a_network_of_timm(name, timm_network, tmp_path):
    network, prepared, size = timm_network(name, 0)
    people = drawn_people(*size, count=5)
    assert_same(f"timm:{name}:{tmp_path}/x.pth", score(lambda images: network(prepared(images)), people), people)
