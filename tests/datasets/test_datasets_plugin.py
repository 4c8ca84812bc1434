"""A dataset that a user's file registers: in the help of a command, and loaded through it."""

import subprocess
import sys
from pathlib import Path

from raw_layouts import jpeg, pack_zip

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests/plugins/toy_dataset.py"


def run(*options):
    command = [sys.executable, "-m", "reid.datasets", "--plugin", str(PLUGIN), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def pack(root, *names):
    pack_zip(root / "toy-people/raw", {name: jpeg(shade) for shade, name in enumerate(names)})


def test_fits_on_30_lines():
    assert len(PLUGIN.read_text().splitlines()) <= 30


def test_is_in_the_help():
    shown = run("--help").stdout
    assert "toy-people" in shown
    assert "toy-people" not in subprocess.check_output(
        [sys.executable, "-m", "reid.datasets", "-h"], text=True, cwd=ROOT
    )


def test_is_converted_and_counted(tmp_path):
    train = [f"train/{person}_{camera}_1.jpg" for person in ("ana", "bo", "cy") for camera in ("door", "gate")]
    test = [f"gallery/{person}_{camera}_1.jpg" for person in ("di", "ed", "flo") for camera in ("door", "gate")]
    pack(tmp_path, *train, *test, "query/di_door_2.jpg")
    done = run("Toy_People", "--root", tmp_path)
    assert (done.returncode, done.stderr.splitlines()[1:]) == (0, [])
    first, *table = done.stdout.splitlines()
    assert first.startswith("toy-people (toy), 2 cameras, split 0: ")
    assert [line.split("|")[1:3] for line in table if "trainval" in line] == [["     3 ", "         6 "]]


def test_may_refuse_what_it_finds(tmp_path):
    pack(tmp_path, "train/ana.jpg", "query/di_door_2.jpg", "gallery/di_gate_1.jpg")
    done = run("toy-people", "--root", tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("train/ana.jpg is not named like ana_door_1.jpg")


def test_cannot_take_a_name_that_is_there(tmp_path):
    (tmp_path / "own.py").write_text("from reid.datasets import *\nDATASETS.register('folder', '')(Loader)\n")
    done = run("--plugin", tmp_path / "own.py", "folder")
    line = "error: a dataset called 'folder' is there already; give yours another name\n"
    assert (done.returncode, done.stderr) == (2, line)
