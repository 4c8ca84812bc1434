"""Synthetic people: same settings same bytes, the layout of Market, a gap between domains, a signal of identity."""

import io
import itertools
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid import datasets, models, synthperson
from reid.errors import DatasetError, UsageError
from reid.runtime import cli
from reid.synthperson.__main__ import main
from reid.synthperson.generate import MARKET
from reid.synthperson.render import render
from reid.synthperson.scene import SITES

OF_ONE_PLACE = ("synth-a", "synth-b", "synth-virtual")

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


def looks(name, pids):
    """Of every image: mean colour, colourfulness, contrast, and sharpness."""
    images, _, _ = pictures(name, pids, cams=4)
    colourfulness = (images.max(3) - images.min(3)).mean((1, 2))
    sharpness = np.abs(np.diff(images, axis=2)).mean((1, 2, 3))
    return np.column_stack([images.mean((1, 2)), colourfulness, images.std((1, 2, 3)), sharpness])


def gap(first, second):
    """The largest difference of means in units of the spread between images (Cohen's d)."""
    spread = np.sqrt((first.var(0) + second.var(0)) / 2)
    return (np.abs(first.mean(0) - second.mean(0)) / spread).max()


def test_images_of_two_domains_differ_clearly_and_images_of_one_do_not():
    people = {name: (looks(name, range(1, 9)), looks(name, range(9, 17))) for name in OF_ONE_PLACE}
    for first, second in itertools.combinations(people, 2):
        assert gap(people[first][0], people[second][0]) > 1.4, (first, second)
    for name, (some, others) in people.items():
        assert gap(some, others) < 1.0, name


@pytest.mark.parametrize("name", OF_ONE_PLACE)
def test_the_ranges_of_the_wide_set_hold_those_of_the_others(name):
    wide, site = SITES["synth-wide"], SITES[name]
    for kind in ("brightness", "saturation", "haze", "blur", "noise", "quality", "resolution"):
        (low, high), (lower, upper) = getattr(wide, kind), getattr(site, kind)
        assert low <= lower <= upper <= high, kind
    assert {*wide.grounds} >= {*site.grounds}
    assert {*wide.walls} >= {*site.walls}
    for kind in ("tops", "bottoms", "bags", "headwear", "top_colours", "bottom_colours"):
        assert getattr(wide.style, kind).keys() >= getattr(site.style, kind).keys(), kind


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


def test_a_folder_of_an_older_drawing_is_refused(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "raw")
    settings = tmp_path / "raw" / "settings.json"
    settings.write_text(settings.read_text().replace('"drawing": ', '"drawing": 9'))
    with pytest.raises(DatasetError, match=r"other settings \(drawing 9"):
        synthperson.generate("synth-a", tmp_path / "raw", **SMALL)


@pytest.mark.parametrize("name", synthperson.DEFAULTS)
def test_any_person_in_any_pose_and_size_can_be_drawn(name):
    for pid in range(1, 30):
        height, width = (24, 12) if pid % 2 else (40, 40)
        assert Image.open(io.BytesIO(render(name, 5, pid, pid % 7, pid, height, width))).size == (width, height)


@pytest.mark.parametrize(
    "bad", [{"cams": 1}, {"per_cam": 1}, {"ids": 0}, {"height": 4}, {"seed": -1}, {"ids": 10**6}, {"cams": 100}]
)
def test_impossible_sizes_are_refused(bad, tmp_path):
    with pytest.raises(UsageError):
        synthperson.generate("synth-a", tmp_path / "raw", **(SMALL | bad))
    assert not list(tmp_path.iterdir())


KILLED = """
import sys
from reid.synthperson.generate import generate
generate("synth-a", sys.argv[1], ids=2000, test_ids=4, cams=2, per_cam=2, height=32, width=16, workers=2)
"""


def test_a_killed_drawing_leaves_no_dataset_and_no_workers_and_is_drawn_anew(drawn, tmp_path):
    raw = tmp_path / "synth-a" / "raw"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(raw)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=30)  # its workers hold the other end of this pipe until they end
    assert process.returncode == -signal.SIGKILL
    assert list(raw.parent.glob(".raw.*.part/**/*.jpg"))
    assert not raw.exists()
    assert synthperson.generate("synth-a", raw, **SMALL, workers=1)
    assert files(raw) == files(drawn)
    assert not list(raw.parent.glob(".raw.*.part"))


def test_a_drawing_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[synthperson.generate.__module__], "SETTINGS", "no/such/folder.json")
    with pytest.raises(FileNotFoundError):
        synthperson.generate("synth-a", tmp_path / "raw", **SMALL, workers=1)
    assert [path.name for path in tmp_path.iterdir()] in ([], [".raw.lock"])


def refusal(capsys, *options):
    with pytest.raises(SystemExit) as left:
        cli.run(main, ["synth-a", *map(str, options)])
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_the_command_reports_errors_in_one_line(tmp_path, capsys):
    assert "--seed" in refusal(capsys, "--root", tmp_path, "--seed", "x")
    assert "--cams" in refusal(capsys, "--root", tmp_path, "--cams", "1")
    (tmp_path / "file").write_text("not a folder")
    assert str(tmp_path / "file") in refusal(capsys, "--root", tmp_path / "file")
    assert "--for says the size" in refusal(capsys, "--root", tmp_path, "--for", "x.pth", "--width", "16")
    assert "no such checkpoint file: x.pth" in refusal(capsys, "--root", tmp_path, "--for", "x.pth")


def test_the_contact_sheet_shows_people_in_rows(tmp_path):
    path = synthperson.contact_sheet("synth-virtual", Path(tmp_path / "sheet.png"), ids=2, cams=2, per_cam=1)
    assert Image.open(path).size == (2 * 68 - 4, 2 * 132 - 4)


def test_the_command_draws_a_contact_sheet_of_the_asked_size(tmp_path):
    sheet = tmp_path / "sheet.png"
    sizes = ["--ids", "2", "--cams", "3", "--per-cam", "1", "--height", "32", "--width", "16"]
    main(["synth-a", "--sheet", str(sheet), *sizes])
    assert Image.open(sheet).size == (3 * 20 - 4, 2 * 36 - 4)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_the_command_draws_images_of_the_size_that_a_model_takes(tmp_path):
    path = models.save_checkpoint(tmp_path / "x.pth", models.create("resnet10", 3, seed=0), height=48, width=24)
    few = ["--ids", "2", "--cams", "2", "--per-cam", "2", "--test-ids", "1", "--workers", "1"]
    main(["synth-a", "--root", str(tmp_path), "--for", str(path), *few])
    shapes = {Image.open(image).size for image in (tmp_path / "synth-a").rglob("*.jpg")}
    assert shapes == {(24, 48)}
