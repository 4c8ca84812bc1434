"""Victims with a planted weakness, on which it is known what an attack can reach.

Features lie on a circle; their angle is a weighted sum of the pixels, which the whole budget moves by 1 either way.
"""

import torch

from reid.attacks import AttackBatch, Reference
from reid.models import InputSpec, Victim

EPS = 8 / 255
WEAKNESSES = ("linear", "colour", "corner")


def people():
    """Four images of whole grey levels, alike up to two of them."""
    random = torch.Generator().manual_seed(0)
    one = torch.randint(60, 196, (1, 3, 8, 4), generator=random)
    return (one + torch.randint(-2, 3, (4, 3, 8, 4), generator=random)) / 255


def weights(weakness):
    """Of the pixels (1, 3, 8, 4): all of them count, the three mean colours alone do, or one corner pixel."""
    weight = torch.zeros(1, 3, 8, 4)
    if weakness == "linear":
        weight = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    elif weakness == "colour":
        weight[:] = torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1)
    else:
        weight[..., 0, 0] = torch.tensor([1.0, -1.0, 0.5])
    return weight / weight.abs().sum() / EPS


def turning(weight):
    """The victim. `people` are near the angle 0."""
    rest = (people() * weight).sum((1, 2, 3)).mean()

    def features(images):
        angle = (images * weight).sum((1, 2, 3)) - rest
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    return Victim(features, InputSpec(8, 4, resize=None))


def circle(angles, pids):
    angles = torch.tensor(angles)
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    return Reference(points, torch.tensor(pids), torch.ones(len(pids), dtype=torch.long))


def batch_of(images):
    """All of them ask for the person at angle 0.15; strangers are on the other side. A training set has two people."""
    strangers = [-0.3, -0.5, -0.7, -0.9, -1.1, -1.3]
    ids = torch.zeros(len(images), dtype=torch.long)
    return AttackBatch(
        images,
        pids=ids,
        camids=ids,
        reference=circle([0.15, *strangers], list(range(1 + len(strangers)))),
        training=circle([1.57, -1.57], [0, 1]),
    )
