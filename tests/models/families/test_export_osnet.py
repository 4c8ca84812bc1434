"""An OSNet as ONNX and back: its features, and what an attack that was learnt on the original costs it."""

import io

import numpy as np
import pytest
import torch
from drawn import drawn_state, read_golden
from PIL import Image

from reid import attacks, evaluation, models
from reid.models.formats import export
from reid.synthperson.render import render

SIZE = (128, 64)
PEOPLE, CAMERAS, SHOTS = 8, 2, 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The original and the imported one."""
    for package in ("onnx", "onnxruntime", "onnx2pytorch"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("osnet")
    torch.save(drawn_state(read_golden("osnet-osnet_x0_25")["keys"]), folder / "osnet.pth")
    export(folder / "osnet.pth", "onnx", folder / "osnet.onnx")
    return models.load_victim(folder / "osnet.pth"), models.load_victim(folder / "osnet.onnx")


@pytest.fixture(scope="module")
def people():
    """Images of drawn people, and their pids and camids."""
    places = [(pid, cam, shot) for pid in range(1, PEOPLE + 1) for cam in range(CAMERAS) for shot in range(SHOTS)]
    files = [Image.open(io.BytesIO(render("synth-a", 0, *place, *SIZE))) for place in places]
    images = torch.stack([torch.from_numpy(np.array(file)).permute(2, 0, 1) / 255 for file in files])
    pids, camids, _ = torch.tensor(places).T
    return images, pids, camids


def score(victim, people, noise=lambda images: images):
    """mAP of perturbed queries, the first camera's, among the clean others."""
    images, pids, camids = people
    asked = camids == 0
    with torch.no_grad():
        query, gallery = (unit(victim(x)) for x in (noise(images[asked]), images[~asked]))
    return evaluation.rank(query, gallery, pids[asked], pids[~asked], camids[asked], camids[~asked]).mAP


def unit(features):
    return torch.nn.functional.normalize(features)


def test_features_input_and_distance_come_back(pair, people):
    first, second = pair
    with torch.no_grad():
        expected, actual = first(people[0]), second(people[0])
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    assert second.input == first.input
    assert second.differentiable


def test_an_attack_learnt_on_the_original_costs_the_imported_one_the_same(pair, people):
    first, second = pair
    images, pids, _ = people
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
