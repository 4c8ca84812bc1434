"""A conversion happens once, whole or not at all, whatever interrupts it and in whatever order files are listed."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest
from PIL import Image
from raw_layouts import (
    FORMS,
    RAW,
    jpeg,
    listing,
    market,
    msmt17,
    pack_zip,
    personx,
    snapshot,
    unpack,
)

from reid import datasets
from reid.datasets import converted
from reid.errors import DatasetError


def refusal(name, root):
    with pytest.raises(DatasetError) as caught:
        datasets.create(name, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def reference(tmp_path):
    """What an undisturbed conversion gives."""
    pack_zip(tmp_path / "undisturbed/market1501/raw", market())
    datasets.create("market1501", tmp_path / "undisturbed")
    return snapshot(tmp_path / "undisturbed/market1501")


def test_a_second_use_neither_converts_nor_needs_the_raw_data(tmp_path, reference, monkeypatch):
    home = tmp_path / "undisturbed/market1501"
    (home / "raw/archive.zip").unlink()
    monkeypatch.setattr(converted, "write", lambda *_: pytest.fail("converted again"))
    assert len(datasets.create("market1501", home.parent).trainval) == 9
    assert snapshot(home) == reference


KILLED_AT_IMAGE_7 = """
import os, signal, sys
from reid import datasets
from reid.datasets import picture
check, seen = picture.check, []
def check_and_die(*args):
    seen.append(args)
    if len(seen) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    check(*args)
picture.check = check_and_die
datasets.create("market1501", sys.argv[1])
"""


def test_a_conversion_killed_among_the_images_starts_again(tmp_path, reference):
    home = tmp_path / "killed/market1501"
    pack_zip(home / "raw", market())
    dead = subprocess.run([sys.executable, "-c", KILLED_AT_IMAGE_7, home.parent], stderr=subprocess.PIPE)
    assert dead.returncode == -signal.SIGKILL
    assert len(list((home / ".converting/images").iterdir())) >= 6
    assert not (home / "images").exists()
    datasets.create("market1501", home.parent)
    assert snapshot(home) == reference


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
def test_a_conversion_killed_while_moving_into_place_is_finished(tmp_path, reference, monkeypatch, moved):
    home = tmp_path / "killed/market1501"
    unpack(home / "raw", market())
    replace, done = os.replace, []

    def replace_or_die(source, target):
        if str(target) == str(home / os.path.basename(target)):
            if len(done) == moved:
                raise KeyboardInterrupt
            done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_or_die)
    monkeypatch.setattr(os, "rmdir", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        datasets.create("market1501", home.parent)
    monkeypatch.undo()
    assert (home / ".converting").exists()
    datasets.create("market1501", home.parent)
    assert snapshot(home) == reference
    assert not (home / ".converting").exists()


def test_an_error_among_the_images_leaves_nothing(tmp_path, reference, monkeypatch):
    home = tmp_path / "full/market1501"
    pack_zip(home / "raw", market())
    with monkeypatch.context() as patch:
        patch.setattr(
            converted, "_write_json", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        assert "No space left on device" in refusal("market1501", home.parent)
    assert listing(home) == ["raw"]
    datasets.create("market1501", home.parent)
    assert snapshot(home) == reference


def test_processes_that_start_together_convert_once(tmp_path, reference):
    home = tmp_path / "together/market1501"
    pack_zip(home / "raw", market())
    code = "import logging, sys; logging.basicConfig(level='INFO'); from reid import datasets; "
    code += "print(len(datasets.create('market1501', sys.argv[1]).trainval))"
    command = [sys.executable, "-c", code, str(home.parent)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [out for out, _ in outputs] == [b"9\n"] * 3
    assert sum(err.count(b"converting market1501 from") for _, err in outputs) == 1
    assert snapshot(home) == reference


@pytest.mark.parametrize("name", RAW)
def test_the_order_in_which_files_are_listed_does_not_matter(tmp_path, monkeypatch, name):
    snapshots = []
    for turn, scandir in enumerate([os.scandir, _backwards]):
        unpack(tmp_path / str(turn) / name / "raw", dict(sorted(RAW[name]().items(), reverse=bool(turn))))
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", scandir)
            datasets.create(name, tmp_path / str(turn))
        snapshots.append(snapshot(tmp_path / str(turn) / name))
    assert snapshots[0] == snapshots[1]


def test_the_order_of_own_images_is_that_of_their_names(tmp_path, monkeypatch):
    unpack(
        tmp_path,
        {f"{folder}/{pid}_c{cam}.jpg": jpeg(0) for folder in ("query", "gallery") for pid in (2, 1) for cam in (1, 2)},
    )
    forwards = datasets.create("folder", tmp_path)
    monkeypatch.setattr(os, "scandir", _backwards)
    backwards = datasets.create("folder", tmp_path)
    assert (backwards.query, backwards.gallery) == (forwards.query, forwards.gallery)


class _backwards(list):
    """os.scandir with the entries in reverse order."""

    def __init__(self, path):
        with _scandir(path) as entries:
            super().__init__(sorted(entries, key=lambda entry: entry.name, reverse=True))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


_scandir = os.scandir


def test_an_unpacked_folder_is_linked_not_copied(tmp_path):
    unpack(tmp_path / "market1501/raw", market())
    dataset = datasets.create("market1501", tmp_path)
    raw = tmp_path / "market1501/raw/Market-1501-v15.09.15" / dataset.original_name(dataset.query[0])
    assert os.path.samefile(raw, dataset.query[0].path)


def test_an_unpacked_folder_is_copied_where_links_are_impossible(tmp_path, reference, monkeypatch):
    home = tmp_path / "unlinkable/market1501"
    unpack(home / "raw", market())
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    datasets.create("market1501", home.parent)
    assert snapshot(home) == reference


def noisy_jpeg():
    """Large enough that its second half is nothing but pixels."""
    buffer = io.BytesIO()
    Image.effect_noise((128, 128), 90).save(buffer, "JPEG")
    return buffer.getvalue()


BROKEN_IMAGES = {"empty": b"", "text": b"not an image", "half": noisy_jpeg()[: len(noisy_jpeg()) // 2]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("broken", BROKEN_IMAGES)
def test_an_unreadable_image_is_named(tmp_path, form, broken):
    name = "Market-1501-v15.09.15/query/0003_c1s1_0003_00.jpg"
    FORMS[form](tmp_path / "market1501/raw", market() | {name: BROKEN_IMAGES[broken]})
    message = refusal("market1501", tmp_path)
    assert name in message
    assert "get the dataset again" in message
    assert listing(tmp_path / "market1501") == ["raw"]


def test_a_strange_line_in_a_list_is_named(tmp_path):
    pack_zip(tmp_path / "msmt17/raw", msmt17() | {"MSMT17_V1/list_query.txt": b"0000/holiday.jpg 0\n"})
    message = refusal("msmt17", tmp_path)
    assert "MSMT17_V1/list_query.txt: the line '0000/holiday.jpg 0' is not like" in message


def test_a_camera_that_the_dataset_does_not_have_is_named(tmp_path):
    name = "Market-1501-v15.09.15/query/0001_c7s1_000001_00.jpg"
    pack_zip(tmp_path / "market1501/raw", market() | {name: jpeg(0)})
    message = refusal("market1501", tmp_path)
    assert f"{name}: camera 7 is none of" in message


def test_a_camera_that_no_release_has_is_told_from_cameras_of_different_releases(tmp_path):
    pack_zip(tmp_path / "7/personx/raw", personx(cameras=(3, 4, 7)))
    assert "_c7s1_33.jpg: camera 7 is none of the cameras [1, 2, 3, 4, 5, 6, 8, 10, 11, 12]" in refusal(
        "personx", tmp_path / "7"
    )
    pack_zip(tmp_path / "both/personx/raw", personx(cameras=(1, 10)))
    assert "no single release has the cameras [1, 10]" in refusal("personx", tmp_path / "both")


def test_a_folder_name_with_a_camera_in_it_does_not_mislead(tmp_path):
    unpack(tmp_path / "market1501/raw/1_c5", market())
    dataset = datasets.create("market1501", tmp_path)
    assert {sample.camid for sample in dataset.query} == {0}


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_split_is_named(tmp_path, form):
    files = {name: content for name, content in market().items() if "/query/" not in name}
    FORMS[form](tmp_path / "market1501/raw", files)
    message = refusal("market1501", tmp_path)
    assert "nothing in query below" in message
    assert "bounding_box_test, bounding_box_train" in message
    assert "put Market-1501-v15.09.15.zip" in message


def test_a_split_with_nothing_but_junk_is_empty(tmp_path):
    files = {name: content for name, content in market().items() if "/query/" not in name}
    pack_zip(tmp_path / "market1501/raw", files | {"Market-1501-v15.09.15/query/-1_c1s1_0_0.jpg": jpeg(0)})
    assert "no query images" in refusal("market1501", tmp_path)
    files |= {"Market-1501-v15.09.15/query/Thumbs.db": b""}
    pack_zip(tmp_path / "market1501/raw", files)
    assert "no images in" in refusal("market1501", tmp_path)


def test_a_person_in_training_and_test_is_refused(tmp_path):
    name = "Market-1501-v15.09.15/bounding_box_train/0003_c1s1_000001_00.jpg"
    pack_zip(tmp_path / "market1501/raw", market() | {name: jpeg(0)})
    message = refusal("market1501", tmp_path)
    assert "1 pids are in both training and test, such as 3 in" in message
    assert name in message


def test_an_image_that_is_there_twice_is_refused(tmp_path):
    copies = {f"{top}/000000_s00_c01_f000264.jpg": jpeg(0) for top in ("randperson_subset", "copy")}
    unpack(tmp_path / "randperson/raw", copies)
    assert "twice" in refusal("randperson", tmp_path)
    both_lists = msmt17() | {"MSMT17_V1/list_query.txt": msmt17()["MSMT17_V1/list_gallery.txt"]}
    unpack(tmp_path / "msmt17/raw", both_lists)
    assert "in gallery" in refusal("msmt17", tmp_path)


def test_a_missing_archive_is_asked_for(tmp_path):
    for prepare in (lambda: None, (tmp_path / "market1501").mkdir, (tmp_path / "market1501/raw").mkdir):
        prepare()
        message = refusal("market1501", tmp_path)
        assert "put Market-1501-v15.09.15.zip (zip, tar or tar.gz)" in message
        assert str(tmp_path / "market1501/raw") in message
    (tmp_path / "market1501/raw/Market-1501-v15.09.15.zip.part").write_bytes(b"")
    assert "Market-1501-v15.09.15.zip.part" in refusal("market1501", tmp_path)


def test_a_missing_root_is_named(tmp_path):
    assert f"no such folder: {tmp_path / 'nowhere'};" in refusal("market1501", tmp_path / "nowhere")


def test_missing_synthetic_data_names_the_command_that_makes_it(tmp_path):
    message = refusal("synth-virtual", tmp_path)
    assert f"python -m reid.synthperson synth-virtual --root {tmp_path}" in message


def test_an_unfinished_conversion_by_other_code_is_not_overwritten(tmp_path):
    pack_zip(tmp_path / "market1501/raw", market())
    (tmp_path / "market1501/images").mkdir()
    (tmp_path / "market1501/images/precious.jpg").write_bytes(b"precious")
    assert "holds images but not all of" in refusal("market1501", tmp_path)
    assert (tmp_path / "market1501/images/precious.jpg").read_bytes() == b"precious"


def test_a_converted_folder_that_lacks_an_image_is_refused(tmp_path, reference):
    home = tmp_path / "undisturbed/market1501"
    (home / "images/00000002_00_0000.jpg").unlink()
    message = refusal("market1501", home.parent)
    assert "00000002_00_0000.jpg is missing" in message
    assert "convert the raw dataset again" in message


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"identities": [], "num_cameras": 6})])
def test_a_converted_folder_with_a_strange_meta_is_refused(tmp_path, reference, content):
    """Such as the first open-reid conversions, which do not say which images are queries."""
    home = tmp_path / "undisturbed/market1501"
    (home / "meta.json").write_text(content)
    message = refusal("market1501", home.parent)
    assert "meta.json" in message
    assert "convert the raw dataset again" in message
