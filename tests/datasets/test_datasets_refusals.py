"""Whatever is wrong with raw data: one line that names it, exit code 2, nothing by halves. Every dataset is asked."""

from pathlib import Path

import pytest
from raw_layouts import RAW, Files, jpeg, listing, pack_tar, pack_zip, unpack

from reid.datasets.__main__ import main
from reid.runtime import cli

# Of each dataset: an image that is used, a file with a name that does not fit, and what to remove for an empty split.
PROBES = {
    "market1501": ("Market-1501-v15.09.15/query/0003_c1s1_0003_00.jpg", "Market-1501-v15.09.15/query/a.jpg", "/query/"),
    "dukemtmc": ("DukeMTMC-reID/query/0005_c3_f0046303.jpg", "DukeMTMC-reID/query/a.jpg", "/query/"),
    "msmt17": ("MSMT17_V1/train/0001/0001_000_15_0302noon_0049_12.jpg", "MSMT17_V1/list_query.txt", "/list_query.txt"),
    "personx": ("personX456/query/0009_c6s1_07.jpg", "personX456/query/a.jpg", "/bounding_box_train/"),
    "unrealperson": ("unreal_v1.3/images/4_c002_1.jpg", "unreal_v3.1/images/a.jpg", ".jpg"),
    "randperson": ("randperson_subset/randperson_subset/000003_s10_c03_f000100.jpg", "randperson_subset/a.jpg", ".jpg"),
    "synth-a": ("synth-a/bounding_box_test/0000_c4s2_000001_01.jpg", "synth-a/query/a.jpg", "/bounding_box_test/"),
}


def refusal(capsys: pytest.CaptureFixture[str], name: str, root: Path) -> str:
    """The one line with which the command refuses; the folder of the dataset then holds raw/ alone, as before."""
    with pytest.raises(SystemExit) as left:
        cli.run(main, [name, "--root", str(root)])
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert listing(root) == [name]
    assert listing(root / name) == ["raw"]
    return err


def test_every_dataset_is_probed():
    assert PROBES.keys() == RAW.keys()


@pytest.mark.parametrize("name", PROBES)
def test_a_missing_archive(tmp_path, capsys, name):
    (tmp_path / name / "raw").mkdir(parents=True)
    message = refusal(capsys, name, tmp_path)
    assert str(tmp_path / name) in message or f"synthperson {name} --root {tmp_path}" in message


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize(("pack", "suffix"), [(pack_zip, ".zip"), (pack_tar, ".tar"), (pack_tar, ".tar.gz")])
def test_a_truncated_archive(tmp_path, capsys, name, pack, suffix):
    path = pack(tmp_path / name / "raw", RAW[name](), f"data{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert f"{path} is truncated" in refusal(capsys, name, tmp_path)


@pytest.mark.parametrize("name", PROBES)
def test_a_zip_with_a_member_that_leads_outside(tmp_path, capsys, name):
    path = pack_zip(tmp_path / name / "raw", RAW[name]() | {"a/../../../../evil.jpg": b"evil"})
    assert f"{path}: member 'a/../../../../evil.jpg'" in refusal(capsys, name, tmp_path)
    assert not list(tmp_path.parent.glob("**/evil.jpg"))


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("put", [pack_zip, unpack])
def test_an_unreadable_image(tmp_path, capsys, name, put):
    image = PROBES[name][0]
    files = RAW[name]()
    put(tmp_path / name / "raw", files | {image: files[image][:40]})
    assert f"{image} cannot be read as an image" in refusal(capsys, name, tmp_path)


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("put", [pack_zip, pack_tar, unpack])
def test_a_name_that_does_not_match(tmp_path, capsys, name, put):
    stranger = PROBES[name][1]
    content = b"0000/a.jpg 0\n" if stranger.endswith(".txt") else jpeg(0)
    put(tmp_path / name / "raw", RAW[name]() | {stranger: content})
    assert f"{stranger}: the " in refusal(capsys, name, tmp_path)


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("put", [pack_zip, pack_tar, unpack])
def test_an_empty_split(tmp_path, capsys, name, put):
    part = PROBES[name][2]
    files: Files = {key: content for key, content in RAW[name]().items() if part not in key}
    put(tmp_path / name / "raw", files | {"readme.txt": b"nothing else"})
    message = refusal(capsys, name, tmp_path)
    assert str(tmp_path / name) in message or str(tmp_path) in message
    assert "no images" in message if part == ".jpg" else f"nothing in {part.strip('/')} below" in message


OWN = {f"{folder}/1_c{camera}.jpg": jpeg(camera) for camera, folder in enumerate(["query", "gallery"])}


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({}, "needs the folders query and gallery"),
        (OWN | {"query/a.jpg": jpeg(0)}, "query/a.jpg: the name does not begin with identity and camera"),
        (OWN | {"query/1_c0.jpg": None, "query/Thumbs.db": b""}, "no images directly in"),
    ],
)
def test_own_images(tmp_path, capsys, files, named):
    """They are in no archive, and are decoded only when they are used."""
    files = {name: content for name, content in files.items() if content is not None}
    unpack(tmp_path / "folder/raw", files)
    (tmp_path / "folder/raw").mkdir(parents=True, exist_ok=True)
    with pytest.raises(SystemExit) as left:
        cli.run(main, ["folder", "--root", str(tmp_path / "folder/raw")])
    out, err = capsys.readouterr()
    assert (left.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert named in err
    assert str(tmp_path / "folder/raw") in err
    there = [str(path.relative_to(tmp_path / "folder/raw")) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(there) == sorted(files)
