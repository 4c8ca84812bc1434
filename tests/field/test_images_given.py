"""Images as people have them, given to everything that takes images: used as they are, or refused with the remedy."""

import re

import numpy as np
import pytest
import torch

from reid import attacks, models
from reid.attacks.base import AttackBatch, perform
from reid.attacks.controls import random_sign
from reid.attacks.image.pgd import PGD
from reid.attacks.threat import Threat

PICTURE = torch.from_numpy(np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32))
PICTURE[0, 0, 0, :2] = torch.tensor([0.0, 1.0])  # both ends of the range
MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

GOOD = {
    "as they should be": PICTURE,
    "channels last in memory": PICTURE.contiguous(memory_format=torch.channels_last),
    "a view": PICTURE.flip(0)[:, :, ::2, ::2],
    "the same twice": PICTURE[:1].expand(2, -1, -1, -1),
    "one": PICTURE[:1],
    "none": PICTURE[:0],
    "black": PICTURE * 0,
    "white": PICTURE * 0 + 1,
    "a little too white": PICTURE + 5e-4,
    "a little too black": PICTURE - 5e-4,
    "with a graph": PICTURE.clone().requires_grad_(),
    "made in inference mode": torch.inference_mode()(lambda: PICTURE.clone())(),
    "wide": PICTURE[:, :, :17, :],
}
BAD = {
    "bytes": ((PICTURE * 255).byte(), "divide 8-bit values by 255"),
    "bytes as floats": ((PICTURE * 255).round(), r"not \[0, 255\]; divide 8-bit values by 255"),
    "16 bits": (PICTURE * 65535, r"not \[0, 6\.55\d*e\+04\]; divide"),
    "whole numbers": ((PICTURE * 255).long(), r"int64 .* in \[0, 255\]"),
    "normalised as for ImageNet": ((PICTURE - MEAN) / STD, r"undo their normalisation"),
    "from -1 to 1": (PICTURE * 2 - 1, r"not \[-1, 1\]; undo"),
    "normalised grey levels": (PICTURE * 255 - MEAN * 255, "undo their normalisation"),
    "bicubic": (PICTURE * 1.1 - 0.05, r"not \[-0\.05, 1\.05\]; clamp"),
    "just beyond the tolerance": (PICTURE * 1.002, r"not \[0, 1\.002\]; clamp"),
    "one NaN": (torch.where(PICTURE == 1, torch.nan, PICTURE), "no finite numbers"),
    "minus infinity": (PICTURE.where(PICTURE > 0, -torch.inf), r"not \[-inf, 1\]; find"),
    "without a batch": (PICTURE[0], r"give images\[None\]"),
    "channels last": (PICTURE.permute(0, 2, 3, 1), r"give images\.permute\(0, 3, 1, 2\)"),
    "one, channels last": (PICTURE[0].permute(1, 2, 0), r"no batch dimension"),
    "grey": (PICTURE.mean(1, keepdim=True), "give RGB, three channels"),
    "grey without channels": (PICTURE.mean(1), "no batch dimension"),
    "RGBA": (torch.cat([PICTURE, PICTURE[:, :1]], 1), "give RGB, three channels"),
    "a clip": (PICTURE[:, None], "give RGB, three channels"),
    "flat": (PICTURE.flatten(1), "give RGB, three channels"),
    "a mask": (PICTURE > 0.5, "torch.bool"),
    "numpy": (PICTURE.numpy(), "not ndarray; give a torch tensor"),
    "a list": ([PICTURE[0], PICTURE[1]], "not list; give a torch tensor"),
    "nothing": (None, "not NoneType; give a torch tensor"),
}


@pytest.fixture(scope="module")
def takers():
    network = models.create("resnet10", 2, seed=0).eval()
    victim, noise = models.Victim(network), random_sign(Threat(0, 8 / 255), 0, 32, 32)
    return {
        "type 0": attacks.create(0, height=32, width=32),
        "type 1": attacks.create(1),
        "type 2": noise,
        "model": lambda x: network(x)[0],
        "victim": victim,
        "control": lambda x: perform(noise, victim, AttackBatch(x)).images,
        "pgd": lambda x: perform(PGD(steps=1), victim, AttackBatch(x)).images,
        "measure": noise.measure,
    }


@pytest.mark.parametrize("kind", GOOD)
def test_used(kind, takers, outcome):
    for name, take in takers.items():
        images = GOOD[kind].clone() if kind == "made in inference mode" else GOOD[kind]
        if not len(images) and name in ("control", "pgd", "measure"):
            continue  # there is nothing of which the budget could be measured
        found = outcome(lambda take=take, images=images: take(images))
        assert not found.refusal, name
    moved = takers["type 2"](GOOD[kind])
    literal = (GOOD[kind] + takers["type 2"].delta).clamp(0, 1) if kind not in ("a view", "wide") else moved
    assert torch.equal(moved, literal)


@pytest.mark.parametrize("kind", BAD)
def test_refused(kind, takers, outcome):
    images, words = BAD[kind]
    for name, take in takers.items():
        found = outcome(lambda take=take: take(images))
        assert re.search(words, found.refusal), name
        assert "[0, 1]" in found.refusal
