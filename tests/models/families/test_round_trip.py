"""An OSNet as ONNX and back: its features, and what an attack that was learnt on the original costs it."""

import io

import numpy as np
import pytest
import torch
from drawn import drawn_state, read_golden
from PIL import Image

from reid import attacks, evaluation, models
from reid.models import InputSpec
from reid.models.formats import export
from reid.models.readings import IMAGENET_MEAN, IMAGENET_STD
from reid.synthperson.render import render

SIZE = (64, 32)
PEOPLE, CAMERAS = 10, 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The original and the imported one."""
    for package in ("onnx", "onnxruntime", "onnx2pytorch"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("osnet")
    torch.save(drawn_state(read_golden("osnet-osnet_x0_25")["keys"]), folder / "osnet.pth")
    reading = InputSpec(*SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    (folder / "small.json").write_text(reading.to_json())
    small = {"preprocessing": f"{folder}/small.json"}
    export(folder / "osnet.pth", "onnx", folder / "osnet.onnx", **small)
    return models.load_victim(folder / "osnet.pth", **small), models.load_victim(folder / "osnet.onnx")


@pytest.fixture(scope="module")
def people():
    """Images of drawn people; one of each camera asks for the other."""
    places = [(pid, cam, shot) for shot in range(2) for pid in range(1, PEOPLE + 1) for cam in range(CAMERAS)]
    files = [Image.open(io.BytesIO(render("synth-a", 0, *place, *SIZE))) for place in places]
    images = torch.stack([torch.from_numpy(np.array(file)).permute(2, 0, 1) / 255 for file in files])
    return images, torch.tensor([pid for pid, _, _ in places])


def score(victim, people, noise=lambda images: images):
    """mAP of perturbed queries among clean images."""
    images, pids = people
    half = len(images) // 2
    with torch.no_grad():
        query, gallery = victim(noise(images[:half])), victim(images[half:])
    zeros = torch.zeros(half, dtype=torch.int64)
    return evaluation.rank(query, gallery, pids[:half], pids[half:], zeros, zeros + 1).mAP


def test_features_input_and_distance_come_back(pair, people):
    first, second = pair
    with torch.no_grad():
        expected, actual = first(people[0]), second(people[0])
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    assert second.input == first.input
    assert second.differentiable


def test_an_attack_learnt_on_the_original_costs_the_imported_one_the_same(pair, people):
    first, second = pair
    images, pids = people
    noise = attacks.create(0, 16 / 255, 16 / 255, *SIZE)
    optimiser = attacks.MISGD(noise.parameters(), lr=2 / 255, momentum=1.0)
    with torch.no_grad():
        clean = first(images)
    for _ in range(8):
        optimiser.zero_grad()
        attacks.objectives.pull_farthest(clean, first(noise(images)), pids).backward()
        optimiser.step()
        noise.project_()
    before, after = score(first, people), score(first, people, noise)
    assert after < before - 0.1
    assert score(second, people) == pytest.approx(before, abs=0.01)
    assert score(second, people, noise) == pytest.approx(after, abs=0.01)
