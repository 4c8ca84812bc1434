"""People of the drawn sets as batches, and how well features find them."""

import io

import numpy as np
import torch
from PIL import Image

from reid import evaluation
from reid.synthperson.render import render

CAMERAS = 2


def drawn_people(height, width, count=10):
    """Images of drawn people with their pids: the first half, of both cameras, asks for the second."""
    places = [(pid, cam, shot) for shot in range(2) for pid in range(1, count + 1) for cam in range(CAMERAS)]
    files = [Image.open(io.BytesIO(render("synth-a", 0, *place, height, width))) for place in places]
    images = torch.stack([torch.from_numpy(np.array(file)).permute(2, 0, 1) / 255 for file in files])
    return images, torch.tensor([pid for pid, _, _ in places])


def score(features, people, noise=lambda images: images):
    """mAP of perturbed queries among clean images."""
    images, pids = people
    half = len(images) // 2
    with torch.no_grad():
        query, gallery = features(noise(images[:half])), features(images[half:])
    zeros = torch.zeros(half, dtype=torch.int64)
    return evaluation.rank(query, gallery, pids[:half], pids[half:], zeros, zeros + 1).mAP
