"""Synthetic people: same settings same bytes, the layout of Market, a gap between domains, a signal of identity."""

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid import datasets
from reid.datasets import synthperson
from reid.datasets.synthperson.generate import MARKET
from reid.datasets.synthperson.render import render
from reid.errors import DatasetError, UsageError

SMALL = {"ids": 3, "test_ids": 4, "cams": 2, "per_cam": 2, "height": 32, "width": 16}


def files(raw):
    return {str(path.relative_to(raw)): path.read_bytes() for path in sorted(raw.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    raw = tmp_path_factory.mktemp("synth") / "synth-a" / "raw"
    assert synthperson.generate("synth-a", raw, **SMALL, workers=2)
    return raw


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(drawn, tmp_path):
    synthperson.generate("synth-a", tmp_path / "raw", **SMALL, workers=1)
    assert files(tmp_path / "raw") == files(drawn)


def test_another_seed_or_name_gives_other_images(drawn, tmp_path):
    synthperson.generate("synth-a", tmp_path / "seed", **SMALL, seed=1, workers=1)
    synthperson.generate("synth-b", tmp_path / "name", **SMALL, workers=1)
    first = files(drawn)
    for other in (files(tmp_path / "seed"), files(tmp_path / "name")):
        images = [name for name in first if name.endswith(".jpg")]
        assert first.keys() == other.keys()
        assert all(first[name] != other[name] for name in images)


def test_images_do_not_depend_on_the_size_of_the_set(drawn, tmp_path):
    larger = SMALL | {"cams": 3, "per_cam": 3}
    synthperson.generate("synth-a", tmp_path / "raw", **larger, workers=1)
    small, large = files(drawn / MARKET / "query"), files(tmp_path / "raw" / MARKET / "query")
    assert all(large[name] == small[name] for name in small)


def test_layout_and_counts_are_those_of_market(drawn):
    home = drawn / MARKET
    names = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in home.iterdir()}
    assert all(re.fullmatch(r"(-1|\d{4})_c\ds1_\d{6}_01\.jpg", name) for folder in names.values() for name in folder)
    people = {folder: {name.split("_")[0] for name in inside} for folder, inside in names.items()}
    assert people["bounding_box_train"] == {"0001", "0002", "0003"}
    assert people["query"] == {"0004", "0005", "0006", "0007"}
    assert people["bounding_box_test"] == people["query"] | {"0000", "-1"}
    assert len(names["bounding_box_train"]) == 3 * 2 * 2
    assert len(names["query"]) == 4 * 2
    assert Image.open(home / "query" / names["query"][0]).size == (16, 32)


def test_the_dataset_loads_like_real_data(drawn):
    data = datasets.create("synth-a", drawn.parents[1])
    assert (data.num_trainval_ids, data.num_cameras) == (3, 2)
    assert (len(data.trainval), len(data.query), len(data.gallery)) == (12, 8, 8 + 1)
    assert not {s.pid for s in data.trainval} & {s.pid for s in data.query}
    assert {s.pid for s in data.gallery} - {s.pid for s in data.query} == {0}


def pictures(name, pids, cams=3, numbers=2):
    shots = [(pid, cam, number) for pid in pids for cam in range(cams) for number in range(numbers)]
    images = [np.asarray(Image.open(io.BytesIO(render(name, 0, *shot, 64, 32)))) for shot in shots]
    return np.stack(images) / 255, np.array([pid for pid, _, _ in shots]), np.array([cam for _, cam, _ in shots])


def test_the_domains_differ_more_than_two_draws_of_people_do():
    def look(name, pids):
        images, _, _ = pictures(name, pids)
        noise = np.abs(np.diff(images, axis=2)).mean()
        return np.array([*images.mean((0, 1, 2)), images.std(), noise])

    means = {name: (look(name, range(1, 9)), look(name, range(9, 17))) for name in synthperson.DEFAULTS}
    within = max(np.abs(a - b).max() for a, b in means.values())
    names = list(means)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert np.abs(means[first][0] - means[second][0]).max() > 1.5 * within, (first, second)


@pytest.mark.parametrize("name", synthperson.DEFAULTS)
def test_images_of_a_person_are_more_alike_than_images_of_two(name):
    images, pids, cams = pictures(name, range(1, 13))
    figure = images[:, 8:56, 10:22].reshape(len(images), 4, 12, 12, 3).mean((2, 3)).reshape(len(images), -1)
    figure = figure - np.stack([figure[cams == cam].mean(0) for cam in cams])
    distance = np.linalg.norm(figure[:, None] - figure[None], axis=2)
    other_camera = cams[:, None] != cams[None]
    same = pids[:, None] == pids[None]
    assert distance[same & other_camera].mean() < 0.8 * distance[~same & other_camera].mean()


def test_drawing_again_does_nothing_and_other_settings_are_refused(drawn):
    before = files(drawn)
    assert not synthperson.generate("synth-a", drawn, **SMALL)
    with pytest.raises(DatasetError, match="other settings"):
        synthperson.generate("synth-a", drawn, **SMALL, seed=9)
    assert files(drawn) == before


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "mine.zip").write_text("precious")
    with pytest.raises(DatasetError, match="was not drawn by this program"):
        synthperson.generate("synth-a", tmp_path / "raw", **SMALL)
    assert (tmp_path / "raw" / "mine.zip").read_text() == "precious"


@pytest.mark.parametrize(
    "bad", [{"cams": 1}, {"per_cam": 1}, {"ids": 0}, {"height": 4}, {"seed": -1}, {"ids": 10**6}, {"cams": 100}]
)
def test_impossible_sizes_are_refused(bad, tmp_path):
    with pytest.raises(UsageError):
        synthperson.generate("synth-a", tmp_path / "raw", **(SMALL | bad))
    assert not list(tmp_path.iterdir())


def command(root, *options):
    sizes = ["--ids", "40", "--test-ids", "4", "--cams", "2", "--per-cam", "2", "--height", "32", "--width", "16"]
    return [sys.executable, "-m", "reid.datasets.synthperson", "synth-a", "--root", str(root), *sizes, *options]


def test_a_killed_drawing_leaves_no_dataset_and_is_drawn_anew(tmp_path):
    process = subprocess.Popen(command(tmp_path, "--workers", "1"), stderr=subprocess.PIPE)
    part = tmp_path / "synth-a" / ".raw.part"
    deadline = time.monotonic() + 60
    while not list(part.rglob("*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    raw = tmp_path / "synth-a" / "raw"
    assert list(part.rglob("*.jpg"))
    assert not raw.exists()
    subprocess.run(command(tmp_path, "--workers", "1"), check=True, stderr=subprocess.PIPE)
    assert len(list(raw.rglob("*.jpg"))) == 44 * 2 * 2 + 2
    assert not part.exists()


def test_the_command_reports_errors_in_one_line(tmp_path):
    for options in (["--seed", "x"], ["--cams", "1"]):
        done = subprocess.run(command(tmp_path, *options), capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_the_contact_sheet_shows_people_in_rows(tmp_path):
    path = synthperson.contact_sheet("synth-virtual", Path(tmp_path / "sheet.png"), ids=2, cams=2, per_cam=1)
    assert Image.open(path).size == (2 * 68 - 4, 2 * 132 - 4)
