from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid.datasets import Sample

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def golden():
    with np.load(DATA / "ranking.npz") as file:
        return dict(file)


@pytest.fixture
def golden_inputs(golden):
    names = ("query_features", "gallery_features", "query_ids", "gallery_ids", "query_cams", "gallery_cams")
    return [golden[name] for name in names]


@pytest.fixture
def draw(tmp_path):
    """`draw(height, width)`: twelve random images of four people, three cameras each."""

    def build(height, width):
        random = np.random.default_rng(0)
        made = []
        for i in range(12):
            path = tmp_path / f"{i:02d}.png"
            Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
            made.append(Sample(str(path), pid=i // 3, camid=i % 3))
        return made

    return build
