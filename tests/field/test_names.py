"""Names of files, and numbers of people, that nobody thought of; raw folders that change once they are converted."""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid import datasets
from reid.datasets import converted
from reid.datasets.contents import contents_sha256
from reid.evaluation import rank
from reid.loading import ImageStore
from reid.loading.sampler import PKSampler

LARGEST = 2**63 - 1


def image(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16), (len(path.name), 90, 30)).save(path, format="JPEG")
    except OSError as error:
        pytest.skip(f"not a name for this file system: {error}")


def own(folder: Path, first: int = 1, rest: str = "") -> Path:
    """Two people to train on and two to ask for, numbered from `first`; `rest` ends the names."""
    for person in range(4):
        for camera, part in ((1, "train" if person < 2 else "query"), (2, "train" if person < 2 else "gallery")):
            image(folder / part / f"{first + person:04d}_c{camera}{rest}.jpg")
    return folder


def market(root: Path, first: int = 1, top: str = "market1501/raw/Market") -> Path:
    """The same as Market-1501, and no images but these."""
    for person in range(4):
        for camera, part in ((1, "query"), (2, "bounding_box_test")):
            part = "bounding_box_train" if person < 2 else part
            image(root / top / part / f"{first + person:04d}_c{camera}s1_000001_01.jpg")
    return root


def used(data: datasets.Dataset) -> list[datasets.Sample]:
    return data.trainval + data.query + data.gallery


NAMES = {
    "gbk": os.fsdecode(b"_\xd6\xd0\xce\xc4"), "latin-1": os.fsdecode(b"_caf\xe9"), "half": os.fsdecode(b"_\xe4\xb8"),
    "chinese": "_中文", "emoji": "_🚶", "composed": "_e\u0301", "from the right": "_\u202eשלום", "space": " a b ",
    "line end": "_a\nb", "tab": "_\t", "quotes": "_'\"", "percent": "_%s%d{0}", "star": "_*?[a]", "backslash": "_a\\b",
    "dots": "_.._.", "nothing": "", "long": "_" + 200 * "x", "two suffixes": ".png", "colon": "_12:30",
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMES)
def test_any_name_that_begins_with_identity_and_camera_is_used_everywhere(tmp_path, outcome, kind):
    own(tmp_path / "set", rest=NAMES[kind])
    data = outcome(lambda: datasets.create("folder", tmp_path / "set"))
    assert data.counted == ""
    assert [(sample.pid, sample.camid) for sample in data.value.query] == [(3, 0), (4, 0)]
    samples = used(data.value)
    assert all(os.path.basename(sample.path).endswith(f"{NAMES[kind]}.jpg") for sample in samples)
    plain, kept = (ImageStore(samples, 16, 8, cache=cache).batch(range(8)) for cache in ("none", "disk"))
    assert torch.equal(plain, kept)
    assert len(contents_sha256(samples)) == 64


@pytest.mark.parametrize("kind", ["gbk", "latin-1", "line end", "emoji"])
def test_folders_and_raw_names_may_be_called_anything_too(tmp_path, outcome, kind):
    market(tmp_path, top=f"market1501/raw/{NAMES[kind]}")
    for part in ("query", "bounding_box_test"):
        folder = tmp_path / "market1501/raw" / NAMES[kind] / part
        for path in list(folder.iterdir()):
            path.rename(folder / f"{path.stem}{NAMES[kind]}.jpg")
    first = outcome(lambda: datasets.create("market1501", tmp_path)).value
    second = outcome(lambda: datasets.create("market1501", tmp_path)).value
    for data in (first, second):
        assert data.original_name(data.query[0]) == f"query/0003_c1s1_000001_01{NAMES[kind]}.jpg"


@pytest.mark.parametrize("kind", ["gbk", "line end", "from the right"])
def test_what_is_refused_is_named_in_letters_that_every_terminal_has(tmp_path, outcome, kind):
    own(tmp_path)
    image(tmp_path / "query" / f"nobody{NAMES[kind]}.jpg")
    refusal = outcome(lambda: datasets.create("folder", tmp_path)).refusal
    assert "the name does not begin with identity and camera" in refusal
    assert refusal.encode().decode() == refusal
    assert refusal.isprintable()


NUMBERS = [0, 7140, 20240115, 20240115_12, 20240115_123000, 20240115_123000_0001, LARGEST - 3]


@pytest.mark.parametrize("first", NUMBERS)
def test_people_may_be_numbered_by_date_and_time(tmp_path, outcome, first):
    pids = [first + person for person in range(4)]
    made = outcome(lambda: datasets.create("folder", own(tmp_path / "own", first))).value
    first_use = outcome(lambda: datasets.create("market1501", market(tmp_path / "data", first))).value
    again = outcome(lambda: datasets.create("market1501", tmp_path / "data")).value
    meta = tmp_path / "data/market1501/meta.json"
    assert meta.stat().st_size < 100_000
    for data in (made, first_use, again):
        assert [sample.pid for sample in data.trainval] == sorted(pids[:2] * 2)
        assert [sample.pid for sample in data.query] == pids[2:] == [sample.pid for sample in data.gallery]
        assert datasets.labels(data.trainval) == {pids[0]: 0, pids[1]: 1}
        assert (len(data.train), len(data.val)) == (2, 2)


@pytest.mark.parametrize("first", [20240115, LARGEST - 3])
def test_large_numbers_are_ranked_and_sampled_as_small_ones_are(first):
    random = np.random.default_rng(0)
    query, gallery = (torch.from_numpy(random.standard_normal((count, 4))) for count in (4, 12))
    results = []
    for start in (0, first):
        pids = torch.arange(4) + start
        results.append(rank(query, gallery, pids, pids.repeat(3), torch.zeros(4).long(), torch.ones(12).long()))
        batch = PKSampler(pids.repeat(3).tolist(), 4, 2, seed=0).epoch(0, 2)
        assert batch == PKSampler([0, 1, 2, 3] * 3, 4, 2, seed=0).epoch(0, 2)
    assert results[0].mAP == results[1].mAP


@pytest.mark.parametrize("first", [LARGEST - 2, 2**63, 2**64, 20240115123000000001, 10**100])
@pytest.mark.parametrize("name", ["folder", "market1501"])
def test_a_number_beyond_64_bits_is_refused_with_the_name_of_its_file(tmp_path, outcome, name, first):
    root = own(tmp_path, first) if name == "folder" else market(tmp_path, first)
    refusal = outcome(lambda: datasets.create(name, root)).refusal
    assert re.search(r"/(\d+)_c[12]\w*\.jpg: identity \1 is beyond 64 bits; shorten it", refusal)
    assert not (root / "market1501/meta.json").exists()


@pytest.mark.parametrize("first", [1, 5_000])
def test_identities_as_a_list_by_pid_still_load(tmp_path, outcome, monkeypatch, first):
    """The form of other code, and of ours before there was another."""
    monkeypatch.setattr(converted, "_LONGEST_LIST", 1_000)
    data = datasets.create("market1501", market(tmp_path, first))
    path = tmp_path / "market1501/meta.json"
    meta = json.loads(path.read_text())
    people = meta["identities"]
    assert isinstance(people, list if first == 1 else dict)
    if first > 1:
        meta["identities"] = [people.get(str(pid), []) for pid in range(first + 4)]
    del meta["raw"], meta["original"]
    path.write_text(json.dumps(meta))
    old = outcome(lambda: datasets.create("market1501", tmp_path))
    assert used(old.value) == used(data)
    assert "changed" not in old.counted


def add(home: Path) -> None:
    image(home / "raw/Market/bounding_box_train/1600_c1s1_000001_01.jpg")


def remove(home: Path) -> None:
    (home / "raw/Market/bounding_box_train/0001_c1s1_000001_01.jpg").unlink()


def rename(home: Path) -> None:
    folder = home / "raw/Market/query"
    (folder / "0003_c1s1_000001_01.jpg").rename(folder / "0003_c2s1_000001_01.jpg")


def move_to_another_split(home: Path) -> None:
    raw = home / "raw/Market"
    shutil.move(raw / "query/0003_c1s1_000001_01.jpg", raw / "bounding_box_test/0003_c1s1_000001_01.jpg")


def add_an_archive(home: Path) -> None:
    with zipfile.ZipFile(home / "raw/more.zip", "w") as archive:
        archive.writestr("readme.txt", "more")


@pytest.mark.parametrize("change", [add, remove, rename, move_to_another_split, add_an_archive])
def test_a_raw_folder_that_changed_after_its_conversion_is_told_of(tmp_path, outcome, change):
    datasets.create("market1501", market(tmp_path))
    change(tmp_path / "market1501")
    data = outcome(lambda: datasets.create("market1501", tmp_path))
    assert len(data.value.trainval) == 4
    assert data.counted.count("raw images have changed since they were converted; to convert again, delete images") == 1


def nothing(root: Path) -> Path:
    return root


def copied(root: Path) -> Path:
    return Path(shutil.copytree(root, root.parent / "copy", copy_function=shutil.copyfile))


def moved(root: Path) -> Path:
    return root.rename(root.parent / "moved")


def moved_deeper(root: Path) -> Path:
    raw = root / "market1501/raw"
    raw.rename(root / "market1501/old")
    raw.mkdir()
    (root / "market1501/old").rename(raw / "old")
    return root


def touched(root: Path) -> Path:
    for path in root.rglob("raw/**/*"):
        os.utime(path, (0, 0))
    return root


def without_raw(root: Path) -> Path:
    shutil.rmtree(root / "market1501/raw")
    return root


def with_a_cache(root: Path) -> Path:
    ImageStore(datasets.create("market1501", root).query, 16, 8, cache="disk").batch([0])
    return root


def with_what_systems_add(root: Path) -> Path:
    for name in ("raw/Thumbs.db", "raw/.DS_Store", "raw/Market/query/._0003_c1s1_000001_01.jpg"):
        (root / "market1501" / name).write_bytes(b"")
    return root


HARMLESS = [nothing, copied, moved, moved_deeper, touched, without_raw, with_a_cache, with_what_systems_add]


@pytest.mark.parametrize("change", HARMLESS)
def test_what_changes_no_image_is_not_told_of(tmp_path, outcome, change: Callable[[Path], Path]):
    datasets.create("market1501", market(tmp_path / "data"))
    assert "changed" not in outcome(lambda: datasets.create("market1501", change(tmp_path / "data"))).counted


@pytest.mark.parametrize("then", ["keep", "unpack", "unpack and delete", "delete", "another"])
def test_an_archive_may_be_unpacked_or_deleted_later_and_another_one_is_told_of(tmp_path, outcome, then):
    market(tmp_path, top="unpacked/Market")
    raw = tmp_path / "market1501/raw"
    raw.mkdir(parents=True)
    shutil.make_archive(str(raw / "Market"), "zip", tmp_path / "unpacked")
    datasets.create("market1501", tmp_path)
    if then.startswith("unpack"):
        shutil.copytree(tmp_path / "unpacked", raw, dirs_exist_ok=True)
    if then.endswith("delete"):
        (raw / "Market.zip").unlink()
    if then == "another":
        shutil.copyfile(raw / "Market.zip", raw / "More.zip")
    counted = outcome(lambda: datasets.create("market1501", tmp_path)).counted
    assert ("changed" in counted) == (then == "another")


def test_images_that_were_put_among_the_converted_ones_are_counted(tmp_path, outcome):
    datasets.create("market1501", market(tmp_path))
    for name in ("00000009_00_0000.jpg", "00000009_01_0000.jpg", ".hidden.jpg"):
        image(tmp_path / "market1501/images" / name)
    data = outcome(lambda: datasets.create("market1501", tmp_path))
    assert f"2 files in {tmp_path}/market1501/images are not used: no split lists them" in data.counted
