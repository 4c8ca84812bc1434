from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def golden():
    with np.load(DATA / "ranking.npz") as file:
        return dict(file)


@pytest.fixture
def golden_inputs(golden):
    names = ("query_features", "gallery_features", "query_ids", "gallery_ids", "query_cams", "gallery_cams")
    return [golden[name] for name in names]
