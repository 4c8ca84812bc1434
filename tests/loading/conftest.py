import numpy as np
import pytest
from PIL import Image

from reid.datasets import Sample
from reid.loading import store


@pytest.fixture
def draw(tmp_path):
    """`draw(height, width)`: seven samples, random images of that size in the folder `images`."""

    def build(height, width):
        random = np.random.default_rng(0)
        folder = tmp_path / "images"
        folder.mkdir()
        made = []
        for i in range(7):
            path = folder / f"{i}.png"
            Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
            made.append(Sample(str(path), pid=i, camid=0))
        return made

    return build


@pytest.fixture
def samples(draw):
    return draw(16, 8)


@pytest.fixture
def decoded(monkeypatch):
    """Paths of all image files that are decoded from now on."""
    paths, real = [], store._decode
    monkeypatch.setattr(store, "_decode", lambda path, *size: (paths.append(path), real(path, *size))[1])
    return paths
