"""The image store: right pixels in the right order, decoded once, errors that name the file."""

import numpy as np
import pytest
import torch
from PIL import Image

from reid.datasets import Sample
from reid.errors import DatasetError
from reid.loading import ImageStore, to_images


@pytest.fixture
def samples(tmp_path):
    random = np.random.default_rng(0)
    made = []
    for i in range(7):
        path = tmp_path / f"{i}.png"
        Image.fromarray(random.integers(0, 256, (16, 8, 3), dtype=np.uint8)).save(path)
        made.append(Sample(str(path), pid=i, camid=0))
    return made


def pixels(sample):
    return torch.from_numpy(np.asarray(Image.open(sample.path)).copy()).permute(2, 0, 1)


def test_batch_gives_the_pixels_of_the_files_in_the_order_asked_for(samples):
    batch = ImageStore(samples, 16, 8).batch([4, 0, 4])
    assert batch.dtype == torch.uint8
    assert torch.equal(batch, torch.stack([pixels(samples[i]) for i in (4, 0, 4)]))


def test_other_sizes_are_resized(samples):
    batch = ImageStore(samples, 32, 20).batch([1])
    wanted = np.asarray(Image.open(samples[1].path).resize((20, 32), Image.Resampling.BILINEAR))
    assert torch.equal(batch[0], torch.from_numpy(wanted.copy()).permute(2, 0, 1))


def test_in_order_covers_everything_once_whatever_the_batch_size_and_the_memory(samples):
    everything = torch.stack([pixels(sample) for sample in samples])
    for memory in (0, 2 * 3 * 16 * 8, 2**20):
        store = ImageStore(samples, 16, 8, memory=memory)
        for size in (1, 3, 7, 50):
            parts = list(store.in_order(size))
            assert [i for indices, _ in parts for i in indices] == list(range(7))
            assert torch.equal(torch.cat([images for _, images in parts]), everything)


def test_a_kept_image_is_not_decoded_again(samples):
    store = ImageStore(samples, 16, 8)
    before = store.batch([2])
    Image.new("RGB", (8, 16)).save(samples[2].path)
    assert torch.equal(store.batch([2]), before)
    assert not torch.equal(ImageStore(samples, 16, 8, memory=0).batch([2]), before)


def test_an_unreadable_image_is_named(samples):
    with open(samples[3].path, "wb") as file:
        file.write(b"not an image")
    with pytest.raises(DatasetError, match=r"3\.png"):
        list(ImageStore(samples, 16, 8).in_order(4))


def test_images_are_in_the_unit_range(samples):
    images = to_images(ImageStore(samples, 16, 8).batch([0]), torch.device("cpu"))
    assert images.dtype == torch.float32
    assert torch.equal((images * 255).round().byte()[0], pixels(samples[0]))
