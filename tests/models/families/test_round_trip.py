"""An OSNet, and each of ours, as ONNX and back: its features, and what an attack learnt on the original costs it."""

import pytest
import torch
from crowd import drawn_people, score
from drawn import drawn_state, read_golden

from reid import attacks, models
from reid.models import InputSpec
from reid.models.formats import export
from reid.models.readings import IMAGENET_MEAN, IMAGENET_STD

SIZE = (64, 32)


OURS = [name if name == "resnet10" else pytest.param(name, marks=pytest.mark.slow) for name in models.names()]


@pytest.fixture(scope="module", params=["osnet", *OURS])
def pair(request, tmp_path_factory):
    """The original and the imported one."""
    for package in ("onnx", "onnxruntime", "onnx2pytorch"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("pair")
    reading = InputSpec(*SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    (folder / "small.json").write_text(reading.to_json())
    if request.param == "osnet":
        torch.save(drawn_state(read_golden("osnet-osnet_x0_25")["keys"]), folder / "x.pth")
    else:
        models.save_checkpoint(folder / "x.pth", models.create(request.param, 3, seed=1))
    small = {"preprocessing": f"{folder}/small.json"}
    export(folder / "x.pth", "onnx", folder / "x.onnx", **small)
    return models.load_victim(folder / "x.pth", **small), models.load_victim(folder / "x.onnx")


@pytest.fixture(scope="module")
def people():
    return drawn_people(*SIZE)


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
    assert after < 0.9 * before
    assert score(second, people) == pytest.approx(before, abs=0.01)
    assert score(second, people, noise) == pytest.approx(after, abs=0.01)
