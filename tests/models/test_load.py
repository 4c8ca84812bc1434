"""One way from a file of any family to a victim."""

import logging
from pathlib import Path

import pytest
import torch

from reid import CheckpointError, models
from reid.models.families import FAMILIES
from reid.runtime.files import sha256
from reid.runtime.registry import load_plugin

TOY = Path(__file__).parent.parent / "plugins" / "toy_family.py"


@pytest.fixture
def ours(small, tmp_path):
    return models.save_checkpoint(tmp_path / "ours.pth", small, height=64, width=32)


@pytest.fixture
def toy(tmp_path):
    """A checkpoint of the family that a plugin registers, while the plugin is loaded."""
    load_plugin(TOY)
    random = torch.Generator().manual_seed(0)
    state = {"toy_conv.weight": torch.randn(6, 3, 5, 5, generator=random) / 255, "toy_conv.bias": torch.zeros(6)}
    torch.save({"state_dict": state}, tmp_path / "toy.pth")
    return tmp_path / "toy.pth"


def test_a_checkpoint_of_ours(ours, small, images):
    victim = models.load_victim(ours)
    assert (victim.name, victim.sha256, victim.arch) == ("ours.pth", sha256(ours), "resnet10")
    assert victim.feature == "pooled last stage, not normalised"
    torch.testing.assert_close(victim(images), small.eval()(images)[0], rtol=1e-4, atol=1e-5)


def test_the_size_is_that_of_the_file_unless_one_is_given(ours, small, tmp_path, caplog):
    unknown = models.save_checkpoint(tmp_path / "unknown.pth", small)
    with caplog.at_level(logging.WARNING):
        sizes = [models.load_victim(ours), models.load_victim(unknown), models.load_victim(unknown, size=(48, 16))]
    assert [(victim.input.height, victim.input.width) for victim in sizes] == [(64, 32), (256, 128), (48, 16)]
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        other = models.load_victim(ours, size=(48, 16))
    assert "trained on 64 x 32 images, not 48 x 16" in caplog.text
    assert (other.input.height, other.input.width) == (48, 16)


def test_a_file_without_a_head_will_do(small, images, tmp_path):
    torch.save({key: value for key, value in small.state_dict().items() if "classifier" not in key}, tmp_path / "x.pth")
    torch.testing.assert_close(
        models.load_victim(tmp_path / "x.pth")(images), small.eval()(images)[0], rtol=1e-4, atol=1e-5
    )


def test_another_architecture_than_asked_for_is_refused(ours):
    with pytest.raises(CheckpointError, match="is a resnet10, not a resMeta; use -a resnet10, or leave -a out"):
        models.load_victim(ours, arch="resMeta")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: {"backbone.weight": torch.zeros(1)}, "no re-ID model of a known layout"),
        (lambda state: {"layer_00.delta": torch.zeros(1)}, "is an attacker"),
        (lambda state: {key: value for key, value in state.items() if key != "feat.weight"}, "is not whole"),
        (lambda state: {key: value for key, value in state.items() if "layer3" not in key}, "blocks"),
    ],
)
def test_what_no_family_knows_is_refused_by_name(change, words, small, tmp_path):
    torch.save(change(small.state_dict()), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=words):
        models.load_victim(tmp_path / "x.pth")


def test_a_plugin_adds_a_family(toy, ours, images):
    assert len(TOY.read_text().splitlines()) <= 30
    assert FAMILIES.summary("toy") == "one convolution, for the tests"
    victim = models.load_victim(toy)
    assert (victim.name, victim.arch, victim.feature_dim, victim.differentiable) == ("toy.pth", "toy", 6, True)
    assert (victim.input.height, victim.input.width, victim.input.channels) == (32, 16, "bgr")
    assert victim(images).shape == (4, 6)
    assert models.load_victim(toy, size=(64, 32)).input == victim.input  # it resizes whatever it is given
    assert models.load_victim(ours).arch == "resnet10"


def test_a_file_of_a_plugins_family_that_is_not_whole(toy):
    torch.save({"toy_conv.weight": torch.zeros(6, 3, 3, 3), "toy_conv.bias": torch.zeros(6)}, toy)
    with pytest.raises(CheckpointError, match=r"toy\.pth is not whole: 1 tensors .*toy_conv\.weight"):
        models.load_victim(toy)


def test_without_the_plugin_the_file_is_of_no_known_layout(toy, monkeypatch):
    monkeypatch.delitem(FAMILIES._places, "toy")
    with pytest.raises(CheckpointError, match="no re-ID model of a known layout"):
        models.load_victim(toy)
