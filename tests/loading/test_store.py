"""The image store: right pixels in the right order, decoded as often as asked for, errors that name the file."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from reid.datasets import Sample
from reid.errors import DatasetError, UsageError
from reid.loading import Images, ImageStore, to_images
from reid.loading.store import CACHES
from reid.runtime import cli

CPU = torch.device("cpu")


def pixels(sample, height=16, width=8):
    """The literal way: open, make RGB, resize, one after the other."""
    image = Image.open(sample.path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


def test_images_of_one_command_are_read_in_one_way(samples):
    images = Images(16, 8, workers=1, cache="none")
    assert torch.equal(images.store(samples).batch([0, 3]), ImageStore(samples, 16, 8).batch([0, 3]))
    with pytest.raises(UsageError, match="cache 'tape'"):
        Images(16, 8, cache="tape").store(samples)


class TestBatch:
    @pytest.mark.parametrize("cache", CACHES)
    @pytest.mark.parametrize("workers", [0, 1, 3])
    def test_gives_the_pixels_of_the_files_in_the_order_asked_for(self, samples, cache, workers):
        store = ImageStore(samples, 16, 8, workers, cache)
        for indices in ([4, 0, 4, 6, 2], [1], [], range(7)):
            batch = store.batch(indices)
            assert (batch.dtype, batch.shape) == (torch.uint8, (len(indices), 3, 16, 8))
            assert all(torch.equal(image, pixels(samples[i])) for image, i in zip(batch, indices, strict=True))

    @pytest.mark.parametrize("cache", CACHES)
    def test_without_workers_starts_no_thread(self, samples, cache, monkeypatch):
        monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread is started"))
        parts = [images for _, images in ImageStore(samples, 16, 8, 0, cache).in_order(3)]
        assert [len(part) for part in parts] == [3, 3, 1]
        assert all(torch.equal(image, pixels(sample)) for image, sample in zip(torch.cat(parts), samples, strict=True))

    def test_fewer_than_no_workers_are_refused(self, samples):
        with pytest.raises(UsageError, match="-1 workers cannot decode; give at least 0"):
            ImageStore(samples, 16, 8, -1)

    @pytest.mark.parametrize("size", [(32, 16), (64, 32), (20, 30), (32, 20), (10, 5), (16, 16), (32, 8)])
    @pytest.mark.parametrize("cache", CACHES)
    def test_other_sizes_are_resized_as_pillow_does(self, samples, size, cache):
        batch = ImageStore(samples, *size, cache=cache).batch(range(7))
        assert torch.equal(batch, torch.stack([pixels(sample, *size) for sample in samples]))

    @pytest.mark.parametrize("before", [(128, 64), (17, 9), (1, 1)])
    def test_doubling_is_pillows_to_the_bit(self, draw, before):
        samples = draw(*before)
        size = (2 * before[0], 2 * before[1])
        batch = ImageStore(samples, *size).batch(range(7))
        assert torch.equal(batch, torch.stack([pixels(sample, *size) for sample in samples]))

    @pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
    def test_other_kinds_of_images_become_rgb(self, tmp_path, samples, mode):
        path = tmp_path / "other.tiff"
        Image.open(samples[0].path).convert(mode).save(path)
        sample = Sample(str(path), 0, 0)
        for size in ((16, 8), (32, 16)):
            assert torch.equal(ImageStore([sample], *size).batch([0])[0], pixels(sample, *size))

    def test_is_laid_out_as_images_are_decoded(self, samples):
        assert ImageStore(samples, 16, 8).batch([0, 1]).is_contiguous(memory_format=torch.channels_last)

    def test_an_unreadable_image_is_named(self, samples):
        with open(samples[3].path, "wb") as file:
            file.write(b"not an image")
        with pytest.raises(DatasetError, match=r"3\.png"):
            list(ImageStore(samples, 16, 8).in_order(4))


class TestCache:
    def test_in_order_covers_everything_once_whatever_the_batch_size_and_the_memory(self, samples):
        everything = torch.stack([pixels(sample) for sample in samples])
        for memory in (0, 2 * 3 * 16 * 8, 2**20):
            store = ImageStore(samples, 16, 8, memory=memory)
            for size in (1, 3, 7, 50):
                parts = list(store.in_order(size))
                assert [i for indices, _ in parts for i in indices] == list(range(7))
                assert torch.equal(torch.cat([images for _, images in parts]), everything)

    @pytest.mark.parametrize(("cache", "times"), [("ram", 1), ("disk", 1), ("none", 3)])
    def test_decides_how_often_an_image_is_decoded(self, samples, decoded, cache, times):
        store = ImageStore(samples, 16, 8, cache=cache)
        for _ in range(3):
            store.batch(range(7))
        assert sorted(decoded) == sorted(sample.path for sample in samples for _ in range(times))

    def test_what_does_not_fit_into_memory_is_decoded_again(self, samples, decoded):
        store = ImageStore(samples, 16, 8, memory=5 * 3 * 16 * 8, workers=1)
        for _ in range(3):
            store.batch(range(7))
        assert len(decoded) == 5 + 3 * 2

    def test_is_an_option_of_the_scripts(self):
        parser = cli.OneLineParser("A script.")
        cli.add_data_options(parser)
        assert parser.parse_args([]).cache == "ram"
        assert [parser.parse_args(["--cache", cache]).cache for cache in CACHES] == list(CACHES)

    def test_of_another_name_is_refused(self, samples):
        with pytest.raises(UsageError, match="'tape' is not one of ram, disk, none"):
            ImageStore(samples, 16, 8, cache="tape")


def test_the_next_batch_is_decoded_while_this_one_is_used(samples, monkeypatch):
    store = ImageStore(samples, 16, 8)
    asked, real = [threading.Event() for _ in range(3)], store.batch
    monkeypatch.setattr(store, "batch", lambda indices: (asked[indices[0]].set(), real(indices))[1])
    for indices, _ in store.batches([[0], [1], [2]]):
        following = asked[min(indices[0] + 1, 2)]
        assert following.wait(10)


class TestToImages:
    @pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
    def test_divides_by_255_and_lays_channels_last(self, layout):
        values = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16).contiguous(memory_format=layout)
        images = to_images(values, CPU)
        assert images.dtype == torch.float32
        assert torch.equal(images, values / 255)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.aminmax() == (0, 1)


@pytest.mark.parametrize("size", [(16, 8), (32, 16), (20, 30)])
def test_a_decoded_image_is_kept_as_one_run_of_bytes(samples, size):
    """Otherwise each later copy costs 25 times as much."""
    store = ImageStore(samples, *size)
    store.batch(range(7))
    assert all(image.flags.c_contiguous for image in store._kept.values())
