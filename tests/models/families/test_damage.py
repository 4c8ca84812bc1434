"""Files of families that are damaged or nearly those of another network: loaded right or refused, never in silence."""

import pytest
import torch
from damage import harmful, harmless
from drawn import drawn_images, drawn_state, read_golden

from reid import CheckpointError, models
from reid.models.families import FAMILIES

HEADS = {  # a small file of each family, and what begins the keys of its head
    "osnet-osnet_x0_25": "classifier.",
    "osnet-osnet_ain_x0_25": "classifier.",
    "torchreid_resnet-resnet18": "classifier.",
    "deep_sort-original": "classifier.",
    "deep_sort-resnet18": "fc.weight",
    "layumi-stride2": "classifier.classifier.",
    "strong_baseline-18": "classifier.",
    "agw-nl-avg": "classifier.",
    "fastreid-bot-ibn18": "heads.weight",
    "fastreid-v0-reduction": "heads.classifier.",
    "cluster_contrast-mmt": "classifier.",
    "tao-256": "model.classifier.",
}


@pytest.fixture(scope="module", params=HEADS)
def file(request):
    """Name, state, the keys of our network for it and its features."""
    state = drawn_state(read_golden(request.param)["keys"])
    model = loaded(state)
    prefix = "model." if request.param.startswith("tao") else ""
    needed = [prefix + key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    return request.param, state, needed, features(model)


def loaded(state):
    """As load_victim does, without the file."""
    told = [name for name in FAMILIES if FAMILIES[name]().matches(state)]
    assert len(told) < 2
    model, _ = FAMILIES[told[0] if told else "resnet"]().build(state, "x.pth")
    return model


def refusal(state):
    """Why it is not loaded, or the empty text."""
    try:
        loaded(state)
    except CheckpointError as error:
        return str(error)
    return ""


def features(model):
    with torch.no_grad():
        return model(drawn_images(128, 64, count=1))


def test_what_does_no_harm_loads_to_the_same_network(file):
    name, state, _, expected = file
    for kind, changed in harmless(state, HEADS[name]).items():
        if name == "deep_sort-resnet18" and kind in ("no head", "a head of another width"):
            continue  # its head is what tells it
        difference = (features(loaded(changed)) - expected).abs().max() / expected.abs().max()
        assert difference < (0.02 if kind == "float16" else 1e-6), kind


def test_what_does_harm_is_refused_in_one_line(file):
    name, state, needed, _ = file
    damages = harmful(state, needed)
    cases = len(damages) + len(harmless(state, HEADS[name]))
    assert cases >= 60
    for kind, changed in damages.items():
        line = refusal(changed)
        assert line.startswith("x.pth "), kind
        assert len(line) <= 512, kind
        assert "\n" not in line, kind
    print(f"{name}: {cases} cases, 0 silent")


@pytest.mark.parametrize("name", ["osnet-osnet_x0_25", "deep_sort-original"])
def test_damaged_files_are_refused_by_the_command_too(name, tmp_path):
    state = drawn_state(read_golden(name)["keys"])
    torch.save(dict(list(state.items())[20:]), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        models.load_victim(tmp_path / "x.pth")
