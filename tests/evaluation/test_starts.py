"""Where re-learning begins: the points of the budget, files of other models, and the files that are refused."""

import pytest
import torch

from reid import UsageError, attacks
from reid.evaluation.starts import begin_, warm_starts
from reid.runtime.files import sha256
from reid.runtime.seeds import generator


def noise(noise_type=0, eps=8 / 255):
    return attacks.create(noise_type, eps, eps, 16, 8)


def begun(noise_type=0, restart=0, warm=None, eps=8 / 255):
    made = noise(noise_type, eps)
    begin_(made, restart, generator(5, restart), warm)
    return made


@pytest.fixture
def path(tmp_path):
    return str(attacks.save(tmp_path / "start.pth", begun(0, 1), {}))


@pytest.mark.parametrize(("restart", "corners"), [(1, False), (2, True), (3, False), (4, True)])
def test_restarts_begin_inside_and_in_the_corners_in_turn(restart, corners):
    made = begun(restart=restart)
    at_border = made.layer_01.delta.abs() == 8 / 255
    assert at_border.all() == corners
    colours = made.layer_00.xform["xform_params"]
    ends = [torch.isclose(colours, getattr(made.layer_00, end)) for end in ("lower", "upper")]
    assert (ends[0] | ends[1]).all() == corners
    assert 0.4 < (made.layer_01.delta > 0).float().mean() < 0.6


def test_the_first_restart_does_nothing():
    assert begun().measure(torch.rand(2, 3, 16, 8))["total"] == 0


@pytest.mark.parametrize("noise_type", [0, 1, 2])
def test_a_warm_start_gives_the_components_that_it_has(noise_type, path):
    (warm,) = warm_starts([path], "", 16, 8)
    made = begun(noise_type, 7, warm)
    expected = {layer.component: layer.state_dict() for layer in begun(0, 1).layers()}
    for layer in made.layers():
        for name, value in layer.state_dict().items():
            torch.testing.assert_close(value, expected[layer.component][name])


def test_a_warm_start_without_the_component_is_like_the_first_restart(tmp_path):
    (warm,) = warm_starts([str(attacks.save(tmp_path / "colour.pth", begun(1, 1), {}))], "", 16, 8)
    assert begun(2, 7, warm).measure(torch.rand(2, 3, 16, 8))["total"] == 0


def test_a_warm_start_is_cut_to_the_budget(path):
    (warm,) = warm_starts([path], "", 16, 8)
    assert begun(2, 7, warm, eps=2 / 255).delta.abs().max() <= 2 / 255


def test_a_file_that_the_model_was_trained_on_is_refused(path):
    with pytest.raises(UsageError, match="the model was trained on this perturbation"):
        warm_starts([path], f"another, {sha256(path)}", 16, 8)


def test_a_file_for_another_size_is_refused(path):
    with pytest.raises(UsageError, match=r"is for images of \(16, 8\), not \(32, 16\)"):
        warm_starts([path], "", 32, 16)
