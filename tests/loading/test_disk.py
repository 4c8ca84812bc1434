"""Decoded images on disk: made once, verified, whole or not at all, shared, and one line where that is impossible."""

import logging
import multiprocessing
import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from reid.datasets import Sample
from reid.errors import DatasetError
from reid.loading import ImageStore, disk, store

SIZE = HEIGHT, WIDTH = 16, 8


def opened(samples, size=SIZE):
    """All images of a store that has just been opened."""
    return ImageStore(samples, *size, cache="disk").batch(range(len(samples)))


@pytest.fixture
def path(samples, tmp_path):
    """The file, made."""
    opened(samples)
    (path,) = (tmp_path / "cache").glob("*.images")
    return path


@pytest.fixture
def warnings(caplog):
    """What was warned about since."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def repaint(sample, colour=(1, 2, 3)):
    """Another image under the same name, of the same size in bytes and with the same times."""
    before = os.stat(sample.path)
    Image.new("RGB", (WIDTH, HEIGHT), colour).save(sample.path)
    os.truncate(sample.path, before.st_size)
    os.utime(sample.path, ns=(before.st_atime_ns, before.st_mtime_ns))


def plain(samples, size=SIZE):
    return ImageStore(samples, *size, cache="none").batch(range(len(samples)))


class TestFile:
    def test_lies_beside_the_folder_of_the_images_and_holds_their_bytes(self, path, samples):
        assert path.name.startswith("16x8-")
        stored = np.fromfile(path, np.uint8, offset=disk.HEADER).reshape(7, HEIGHT, WIDTH, 3)
        assert torch.equal(torch.from_numpy(stored).permute(0, 3, 1, 2), plain(samples))

    def test_begins_with_a_line_that_says_what_it_is(self, path):
        with open(path, "rb") as file:
            header = file.readline()
        assert len(header) == disk.HEADER
        assert b'"height": 16, "width": 8, "count": 7' in header

    def test_is_not_made_before_the_first_batch(self, samples, tmp_path):
        ImageStore(samples, *SIZE, cache="disk")
        assert not (tmp_path / "cache").exists()

    def test_serves_the_next_store_without_a_look_at_the_images(self, path, samples, decoded):
        before = opened(samples)
        for sample in samples:
            repaint(sample)
        assert torch.equal(opened(samples), before)
        assert not decoded

    def test_goes_with_a_dataset_that_moves(self, path, samples, tmp_path, decoded):
        os.mkdir(tmp_path / "elsewhere")
        for folder in ("images", "cache"):
            shutil.move(tmp_path / folder, tmp_path / "elsewhere" / folder)
        moved = [Sample(str(tmp_path / "elsewhere/images" / Path(s.path).name), s.pid, s.camid) for s in samples]
        opened(moved)
        assert not decoded

    def test_of_another_size_or_of_other_samples_is_another(self, path, samples):
        assert torch.equal(opened(samples, (32, 16)), plain(samples, (32, 16)))
        assert torch.equal(opened(samples[2:5]), plain(samples[2:5]))
        assert torch.equal(opened(samples[::-1]), plain(samples[::-1]))
        assert len(list(path.parent.glob("*.images"))) == 4

    def test_can_be_read_without_calls_that_only_some_systems_have(self, path, samples, monkeypatch):
        monkeypatch.delattr(os, "preadv", raising=False)
        assert torch.equal(opened(samples), plain(samples))

    def test_can_be_read_where_nothing_can_be_written(self, path, samples, monkeypatch):
        monkeypatch.delattr(disk, "FileLock")
        assert torch.equal(opened(samples), plain(samples))


class TestIsMadeAnewWithOneWarning:
    @pytest.fixture(autouse=True)
    def afterwards(self, path, samples, decoded, warnings):
        yield
        assert torch.equal(opened(samples), plain(samples))
        assert len(warnings()) == 1
        assert str(path) in warnings()[0]
        decoded.clear()
        opened(samples)
        assert not decoded

    def test_when_an_image_has_changed(self, samples):
        Image.new("RGB", (WIDTH, HEIGHT)).save(samples[2].path)

    def test_when_an_image_was_touched(self, samples):
        os.utime(samples[2].path, ns=(0, 0))

    @pytest.mark.parametrize("size", [0, 100, disk.HEADER, -1])
    def test_when_it_is_cut_short(self, path, size):
        os.truncate(path, size % path.stat().st_size)

    def test_when_it_is_too_long(self, path):
        with open(path, "ab") as file:
            file.write(b"more")

    def test_when_its_header_is_nonsense(self, path):
        with open(path, "r+b") as file:
            file.write(b"\xff\xfe{}")

    def test_when_another_pillow_would_decode(self, monkeypatch):
        monkeypatch.setattr(PIL, "__version__", "999")

    def test_when_pixels_would_be_read_by_other_rules(self, monkeypatch):
        monkeypatch.setattr(disk, "RULES", disk.RULES + 1)


class TestWhenItCannotBeMade:
    @pytest.fixture
    def message(self, samples):
        """The one line of opening a store of the samples."""

        def found():
            with pytest.raises(DatasetError) as raised:
                opened(samples)
            return str(raised.value)

        return found

    def test_a_folder_that_cannot_be_written_to_has_a_remedy(self, message, tmp_path):
        (tmp_path / "cache").write_text("in the way")
        assert "use --cache ram" in message()
        assert str(tmp_path / "cache") in message()

    def test_a_full_disk_is_not_filled_further(self, message, tmp_path, monkeypatch):
        usage = namedtuple("Usage", "free")
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(7 * 3 * HEIGHT * WIDTH))
        assert "No space left" in message()
        assert "use --cache ram" in message()
        assert not list((tmp_path / "cache").glob("*.images"))

    def test_an_unreadable_image_is_named_and_nothing_is_left(self, message, samples, tmp_path):
        Path(samples[3].path).write_bytes(b"not an image")
        assert "3.png" in message()
        assert not [name for name in os.listdir(tmp_path / "cache") if "lock" not in name]

    def test_a_missing_image_is_named(self, path, message, samples):
        os.remove(samples[3].path)
        assert "3.png" in message()

    def test_what_a_killed_process_left_goes_away(self, samples, path):
        part = path.with_name(f".{path.name}.12345678.part")
        part.write_bytes(b"half")
        os.utime(part, (0, 0))
        path.unlink()
        opened(samples)
        assert not part.exists()


def test_a_file_that_is_cut_short_while_in_use_is_named(samples, path):
    reader = ImageStore(samples, *SIZE, cache="disk")
    reader.batch([6])
    os.truncate(path, disk.HEADER + 10)
    with pytest.raises(DatasetError, match="cut short"):
        reader.batch([6])


def test_processes_that_start_together_decode_once_and_read_the_same(samples, tmp_path):
    processes = multiprocessing.get_context("fork")
    start, results = processes.Barrier(3), processes.Queue()

    def work():
        torch.set_num_threads(1)
        seen, real = [], store._decode
        store._decode = lambda path, *size: (seen.append(path), real(path, *size))[1]
        start.wait()
        total = opened(samples).sum().item()
        results.put((len(seen), total))

    children = [processes.Process(target=work) for _ in range(3)]
    for child in children:
        child.start()
    found = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert sorted(count for count, _ in found) == [0, 0, 7]
    assert {total for _, total in found} == {plain(samples).sum().item()}
