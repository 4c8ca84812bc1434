"""Every file is of one family: those that golden files describe, and the released ones of this project."""

import json

import pytest
import torch
from drawn import GOLDEN, read_golden

from reid.models.families import FAMILIES

NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))
LAYOUTS = json.loads((GOLDEN.parent / "state_dict_layouts.json").read_text())


def families(shapes):
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    return [name for name in FAMILIES if FAMILIES[name]().matches(state)]


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_file_is_of_its_family_alone(name):
    assert families(read_golden(name)["keys"]) == [name.partition("-")[0]]


def test_there_are_files_of_these_families():
    assert {"osnet", "torchreid_resnet", "deep_sort", "layumi"} <= {name.partition("-")[0] for name in NAMES}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_released_file_of_ours_is_ours_alone(name):
    assert families({key: shape for key, (shape, _) in LAYOUTS[name].items()}) == ["resnet"]
