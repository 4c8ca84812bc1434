import os
import threading
from dataclasses import replace

import pytest

from reid.datasets.base import Sample
from reid.datasets.contents import contents_sha256
from reid.errors import DatasetError


def write(folder, pixels=b"pixels") -> list[Sample]:
    """Three files as samples; `pixels` are the bytes of the last."""
    folder.mkdir()
    for number, content in enumerate((b"first", b"second", pixels)):
        (folder / f"{number}.jpg").write_bytes(content)
    return [Sample(str(folder / f"{number}.jpg"), pid=number, camid=number % 2) for number in range(3)]


def test_equal_names_with_other_pixels_give_another_hash(tmp_path):
    assert contents_sha256(write(tmp_path / "a")) != contents_sha256(write(tmp_path / "b", b"others"))


def test_the_number_of_workers_does_not_count(tmp_path, monkeypatch):
    hashes = {contents_sha256(write(tmp_path / str(workers)), workers) for workers in (0, 1, 3)}
    assert len(hashes) == 1
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread is started"))
    assert contents_sha256(write(tmp_path / "again"), 0) in hashes


def test_the_folder_does_not_count(tmp_path):
    assert contents_sha256(write(tmp_path / "a")) == contents_sha256(write(tmp_path / "b"))


@pytest.mark.parametrize("change", [{"pid": 7}, {"camid": 7}])
def test_identities_and_cameras_count(tmp_path, change):
    samples = write(tmp_path / "a")
    assert contents_sha256([replace(samples[0], **change), *samples[1:]]) != contents_sha256(samples)


def test_names_order_and_number_count(tmp_path):
    samples = write(tmp_path / "a")
    os.link(samples[0].path, tmp_path / "a" / "other.jpg")
    renamed = [replace(samples[0], path=str(tmp_path / "a" / "other.jpg")), *samples[1:]]
    hashes = {contents_sha256(some) for some in (samples, samples[::-1], samples[:2], renamed, [])}
    assert len(hashes) == 5


def test_the_number_of_threads_and_of_queued_files_does_not_count(tmp_path, monkeypatch):
    samples = write(tmp_path / "a")
    expected = contents_sha256(samples)
    monkeypatch.setattr("reid.datasets.contents._BATCH", 2)
    monkeypatch.setattr("reid.datasets.contents._digests", {})
    assert contents_sha256(samples, workers=1) == contents_sha256(samples, workers=3) == expected


def test_a_file_is_read_once_and_again_when_it_changed(tmp_path, monkeypatch):
    samples, opened = write(tmp_path / "a"), []
    first = contents_sha256(samples)
    monkeypatch.setattr("builtins.open", lambda path, mode: opened.append(path) or os.fdopen(os.open(path, 0), mode))
    assert contents_sha256(samples) == first
    assert opened == []
    path = samples[2].path
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))
    assert contents_sha256(samples) == first
    assert opened == [path]


def test_a_changed_file_of_the_same_size_gives_another_hash(tmp_path):
    samples = write(tmp_path / "a")
    first = contents_sha256(samples)
    with open(samples[2].path, "wb") as file:
        file.write(b"PIXELS")
    os.utime(samples[2].path, ns=(0, 1))
    assert contents_sha256(samples) != first


@pytest.mark.parametrize("missing", [True, False])
def test_a_file_that_cannot_be_read_is_named(tmp_path, missing):
    samples = write(tmp_path / "a")
    os.unlink(samples[1].path)
    if not missing:
        os.mkdir(samples[1].path)
    with pytest.raises(DatasetError, match=r"cannot read .*1\.jpg: .*; put the image back") as error:
        contents_sha256(samples)
    assert "\n" not in str(error.value)
