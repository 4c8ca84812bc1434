"""Augmentation of batches: each transform against its literal description, and its distribution."""

import pytest
import torch

from reid.loading import augment
from reid.training.seeds import generator


@pytest.fixture
def images():
    return torch.rand(64, 3, 32, 16, generator=generator(5))


def test_flip_mirrors_about_half_of_the_images(images):
    flipped = augment.flip(images, generator(0))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, images, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(flipped, images, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


def test_shift_moves_within_the_padding_and_fills_with_black(images):
    margin = round(10 / 256 * 32)
    shifted = augment.shift(images, generator(0))
    places = set()
    for before, after in zip(images, shifted, strict=True):
        canvas = torch.zeros(3, 32 + 2 * margin, 16 + 2 * margin)
        canvas[:, margin:-margin, margin:-margin] = before
        found = [
            (y, x)
            for y in range(2 * margin + 1)
            for x in range(2 * margin + 1)
            if torch.equal(canvas[:, y : y + 32, x : x + 16], after)
        ]
        assert len(found) == 1
        places |= set(found)
    assert len(places) == (2 * margin + 1) ** 2


def test_erase_fills_one_rectangle_of_the_documented_area_with_the_mean(images):
    erased = augment.erase(images, generator(0))
    mean = torch.tensor(augment.IMAGENET_MEAN)[:, None, None]
    touched = 0
    for before, after in zip(images, erased, strict=True):
        changed = (before != after).any(0)
        if not changed.any():
            continue
        touched += 1
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        y, x = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        assert torch.equal(after[:, y, x], mean.expand_as(after[:, y, x]))
        assert changed.sum() == len(rows) * len(columns)
        assert 0.01 <= changed.float().mean() <= 0.45
    assert 16 < touched < 48


def test_the_same_generator_gives_the_same_batch_and_the_input_is_left_alone(images):
    before = images.clone()
    first, again, other = (augment.usual(images, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert first.min() >= 0
    assert first.max() <= 1
