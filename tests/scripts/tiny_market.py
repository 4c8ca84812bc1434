"""A tiny dataset in raw Market layout."""

from pathlib import Path

import numpy as np
from PIL import Image

# Two pixels remain where the network is narrowest: with one, torch's bfloat16 gradient reads memory that nobody wrote.
SIZE = ["--height", "32", "--width", "32", "--device", "cpu"]


def draw(raw: Path, num_ids: int, cameras: int, seed: int) -> None:
    """Market layout: every person is two coloured stripes; half of the people are for training."""
    random = np.random.default_rng(seed)
    colours = random.integers(60, 196, (num_ids + 1, 2, 1, 1, 3))
    for pid in range(1, num_ids + 1):
        for camera in range(1, cameras + 1):
            for index in range(3):
                test = "query" if index == 0 else "bounding_box_test"
                folder = raw / ("bounding_box_train" if 2 * pid <= num_ids else test)
                folder.mkdir(parents=True, exist_ok=True)
                pixels = np.concatenate([np.broadcast_to(half, (16, 16, 3)) for half in colours[pid]])
                light = random.normal(0, 40, (1, 1, 3))
                noisy = np.clip(pixels + light + random.normal(0, 25, pixels.shape), 0, 255).astype(np.uint8)
                Image.fromarray(noisy).save(folder / f"{pid:04d}_c{camera}s1_{index:06d}_00.jpg", quality=95)
