from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def golden():
    """Arrays of a golden file as tensors: golden("misgd")["gradients"]."""

    def read(name):
        with np.load(DATA / f"{name}.npz") as file:
            return {key: torch.from_numpy(np.array(file[key])) for key in file}

    return read


@pytest.fixture
def released():
    """Path of a released attacker file: bare state dict, torch 1.3 serialisation, storages tagged cuda:0."""
    return lambda noise_type: DATA / f"best_perturbation_type{noise_type}.pth"


@pytest.fixture
def images():
    """A batch of random images as a camera gives them: whole grey levels, black and white included."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (4, 3, 16, 8), generator=generator) / 255
    x[0, :, 0, 0], x[0, :, 0, 1] = 0.0, 1.0
    return x
