"""What a SPEC may be, and what is known of a model before it reads an image."""

import numpy as np
import pytest
import torch

from reid import UsageError, models
from reid.models import InputSpec
from reid.models.sources import open_model, weights_sha256


@pytest.fixture
def ours(small, tmp_path):
    return models.save_checkpoint(tmp_path / "ours.pth", small, height=64, width=32)


def test_a_checkpoint_knows_how_it_reads_images(ours, small):
    source = open_model(ours)
    assert (source.certain, source.trained, source.fixed) == (True, (64, 32), (None, None))
    assert (source.variants, source.distance) == (("",), "euclidean")
    assert source.checkpoint.state.keys() == small.state_dict().keys()
    assert source.reading("own") == source.victim().input


def test_a_file_is_named_before_a_function_of_the_same_name(ours, monkeypatch):
    monkeypatch.chdir(ours.parent)
    named = ours.rename("some.module:model")
    assert open_model(named.name).victim().arch == "resnet10"


def test_readings_by_name_keep_the_size_and_the_resize(ours, tmp_path):
    source = open_model(ours)
    assert source.victim("255-bgr").input == InputSpec(64, 32, None, "bgr", 255.0)
    (tmp_path / "square.json").write_text(InputSpec(16, 16).to_json())
    assert source.victim(str(tmp_path / "square.json"), (64, 32)).input == InputSpec(16, 16)
    assert source.victim("255-bgr").reading == "255-bgr"


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ("imagnet", "no preprocessing is called 'imagnet'; did you mean imagenet"),
        ("own/gem", "no variant of .* is called 'gem'"),
        ("missing.json", r"cannot read missing\.json"),
    ],
)
def test_unknown_readings_are_one_line(reading, words, ours):
    with pytest.raises(UsageError, match=words):
        models.load_victim(ours, preprocessing=reading)


@pytest.mark.parametrize("stated", ["RGB", [256, 128], {"size": 3}, torch.zeros(3), np.zeros(3), 0])
def test_an_input_of_another_sense_in_a_checkpoint_is_passed_over(stated, small, tmp_path):
    torch.save({"state_dict": small.state_dict(), "input": stated, "variant": stated}, tmp_path / "x.pth")
    assert models.load_victim(tmp_path / "x.pth").input == small.input


@pytest.mark.parametrize(
    "change",
    [
        *({"height": 0}, {"height": 25.5}, {"height": "256"}, {"mean": [0, 0]}, {"mean": "abc"}),
        *({"mean": [float("nan")] * 3}, {"std": [0, 1, 1]}, {"scale": float("inf")}),
        *({"channels": "gbr"}, {"resize": "cubic"}, {"colour": 1}),
    ],
)
def test_an_input_that_cannot_be_is_one_line(change, small, tmp_path):
    stated = {"height": 256, "width": 128, **change}
    torch.save({"state_dict": small.state_dict(), "input": stated}, tmp_path / "x.pth")
    with pytest.raises(UsageError) as caught:
        models.load_victim(tmp_path / "x.pth")
    assert len(str(caught.value)) <= 512


def test_weights_have_a_hash(small):
    first = weights_sha256(small)
    with torch.no_grad():
        small.feat.weight[0, 0] += 1
    assert first != weights_sha256(small)
    assert weights_sha256(abs) == weights_sha256(print)
