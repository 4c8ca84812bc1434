from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def golden():
    with np.load(DATA / "ranking.npz") as file:
        return dict(file)


@pytest.fixture
def golden_inputs(golden):
    names = ("query_features", "gallery_features", "query_ids", "gallery_ids", "query_cams", "gallery_cams")
    return [golden[name] for name in names]
