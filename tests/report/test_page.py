"""The page: whole in itself, the same each time, and text from files stays text."""

import json
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up import jpeg, judged, row, summary

from reid.errors import ReidError
from reid.evaluation.exhibits import path_of, zipped
from reid.evaluation.goals import GOALS
from reid.report import figures
from reid.report.__main__ import main
from reid.report.chapter import SHORT
from reid.report.evidence import subjects
from reid.report.page import page

ROOT = Path(__file__).parents[2]
HOSTILE = ["<script>alert(1)</script>", "</script><b>", "$\\frac{1", "{{ 7 * 7 }}", "\"'><img src=x onerror=alert(1)>"]


class Reader(HTMLParser):
    """What a page holds: ids, tags with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def folder(tmp_path):
    summary(tmp_path, judged(tmp_path))
    return tmp_path


def test_has_the_verdict_of_each_model(folder):
    judged(folder / "a", model="A.pth")
    text = page(subjects([folder]), "Two models")
    words = " ".join(" ".join(Reader(text).words).split())
    assert "<title>Two models</title>" in text
    for part in (
        "models/A.pth",
        "models/D.pth",
        "10.0 is the worst: what is left of 90.0 on clean images",
        "strongest: learnt (colour",
        "alone 30.0: push (delta",
        "reid-toy-v1",
    ):
        assert part in words
    for goal in ("universal", "image", "image_gallery", "search", "transfer"):
        assert words.count(GOALS[goal]) >= 2
    assert "not tried" not in words
    assert "evaluate.py --resume models/D.pth" in words


def test_needs_nothing_but_itself(folder):
    reader = Reader(page(subjects([folder]), "t"))
    linked = [value for _, attributes in reader.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(value.startswith("#") for value in linked if value)
    addresses = re.findall(r"url\(([^)]*)\)", page(subjects([folder]), "t"))
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in addresses)
    assert ("default-src 'none'" in dict(attributes).get("content", "") for _, attributes in reader.tags)
    assert len(reader.ids) == len(set(reader.ids))
    assert {value[1:] for value in linked if value} <= set(reader.ids)


def test_shows_each_picture_once(folder):
    judged(folder / "a", model="A.pth")
    text = page(subjects([folder]), "t")
    pictures = re.findall(r"base64,([\w+/=]+)", text)
    assert len(pictures) == len(set(pictures))
    assert set(re.findall(r'class="pic (p\d+)', text)) <= set(re.findall(r"^\.(p\d+)\{", text, re.MULTILINE))


def test_is_the_same_each_time_and_everywhere(folder, tmp_path):
    first = page(subjects([folder]), "t")
    other = tmp_path / "out" / "other.html"
    code = "import locale, sys; from reid.report.__main__ import main; main(sys.argv[1:])"
    environment = {
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "7",
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])),
        "OPENBLAS_CORETYPE": "Nehalem",  # with the line above, an old processor
    }
    command = [sys.executable, "-c", code, str(folder), "-o", str(other), "--title", "t"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    assert other.read_text(encoding="utf-8") == first


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_from_files_stays_text(tmp_path, hostile):
    judged(tmp_path, model=hostile, dataset=hostile)
    row(tmp_path, hostile, "image", 0.2, model=hostile, dataset=hostile)
    text = page(subjects([tmp_path]), hostile)
    tags = [tag for tag, _ in Reader(text).tags]
    assert tags.count("script") == 2  # data and program
    assert "img" not in tags
    assert all(not name.startswith("on") for _, attributes in Reader(text).tags for name in attributes)
    assert hostile.split("<")[0] in "".join(Reader(text).words)
    assert "49" not in re.sub(r"[^{]*", "", hostile) or "{{ 7 * 7 }}" in text


def test_tells_what_rankings_betray_of_each_row(folder):
    for line, cell in (
        ("learnt", '<td class="number" data-value="0.5">50.0</td>'),
        ("square", '<td class="number" data-value="-1"></td>'),
    ):
        (row,) = re.findall(
            rf'<th scope="row" class="long">{line}</th>.*?</tr>', page(subjects([folder]), "t"), re.DOTALL
        )
        assert cell in row


def test_results_without_pictures_and_intervals_make_a_page(tmp_path):
    judged(tmp_path, pictures=False, pids=False)
    text = page(subjects([tmp_path]), "t")
    assert "There are no pictures next to these results." in text
    assert "No interval" in text


def test_a_model_that_nobody_attacked_is_not_called_robust(tmp_path):
    row(tmp_path, "clean", "clean", 0.9)
    assert "its robustness is not known" in page(subjects([tmp_path]), "t")


@pytest.mark.parametrize(
    "files",
    [
        {"exhibit.json": b"{}"},
        {"exhibit.json": b"[]"},
        {"exhibit.json": b'{"magnified": 8, "pairs": [{"side": 1}], "queries": [], "perturbation": {}}'},
        {"exhibit.json": b"no JSON"},
        {"other": b""},
    ],
)
def test_a_damaged_exhibit_is_one_line(folder, files):
    for result in judged(folder):
        path_of(folder, result).write_bytes(zipped(files))
    with pytest.raises(ReidError, match=r"evaluate again"):
        page(subjects([folder]), "t")


def unzipped(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_damaged_exhibit_is_named(folder):
    path = path_of(folder, judged(folder)[1])
    files = unzipped(path)
    del files["before.jpg"]
    path.write_bytes(zipped(files))
    with pytest.raises(ReidError, match=rf"{path.name} lacks before\.jpg; remove it, or evaluate again"):
        page(subjects([folder]), "t")


@pytest.mark.parametrize("picture", [b"<svg onload=alert(1)>", b"", jpeg(3)[:50], jpeg(3, (65500, 8192))])
def test_a_picture_that_is_none_or_too_large_is_one_line(folder, picture):
    path = path_of(folder, judged(folder)[1])
    path.write_bytes(zipped(unzipped(path) | {"before.jpg": picture}))
    with pytest.raises(ReidError, match="no JPEG file"):
        page(subjects([folder]), "t")


def test_what_is_no_archive_is_one_line(folder):
    path_of(folder, judged(folder)[0]).write_bytes(jpeg(9))
    with pytest.raises(ReidError, match=r"\.zip is no exhibit of a result"):
        page(subjects([folder]), "t")


def test_the_data_of_the_script_are_those_of_the_queries(folder):
    text = page(subjects([folder]), "t")
    (data,) = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert len(data["files"]) == len(data["ap"]) == 24
    assert np.mean(data["goals"]["image"]["ap"]) == pytest.approx(0.3, abs=1e-3)
    assert {"universal", "image", "image_gallery", "transfer"} <= data["goals"].keys()
    assert "search" not in data["goals"]  # of some queries alone
    points = re.search(r'id="scatter0-image-points">(.*?)</g>\s*</g>', text, re.DOTALL)
    assert points[1].count("<use ") == 24


def test_every_goal_has_a_short_name():
    assert SHORT.keys() == GOALS.keys()


def test_figures_take_the_colours_of_the_page():
    svg = figures.lines("f", {"a $b$": ([0, 1], [0.5, 0.2]), "<c>": ([0, 1], [0.4, 0.1])}, "x", "y")
    assert "var(--c1)" in svg
    assert "var(--ink)" in svg
    assert not re.search(r"#0000[0-9a-f]{2}", svg)
    assert "a $b$" in svg
    assert "&lt;c&gt;" in svg
    assert "Date" not in svg
    assert re.search(r"<svg[^>]* (width|height)=", svg) is None


def test_the_command_writes_the_page(folder, tmp_path, capsys):
    main([str(folder), "-o", str(tmp_path / "new" / "r.html")])
    assert (tmp_path / "new" / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
