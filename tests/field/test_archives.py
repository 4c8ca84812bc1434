"""Archives and lists as they reach people: read, refused by name, or counted. Each parameter is one input."""

import bz2
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reid import datasets

TOP = "Market-1501-v15.09.15"
DRIVE = f"{TOP}-20240101T000000Z"
Files = dict[str, bytes]


def with_images(names: list[str]) -> Files:
    files = {}
    for shade, name in enumerate(names):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 16), (40 * shade % 256, shade, 90)).save(buffer, "JPEG")
        files[name] = buffer.getvalue()
    return files


TRAIN = [f"bounding_box_train/000{pid}_c{camera}s1_000001_01.jpg" for pid in (1, 2, 3) for camera in (1, 2)]
GALLERY = [f"bounding_box_test/000{pid}_c2s1_000001_01.jpg" for pid in (4, 5)]
QUERY = [f"query/000{pid}_c1s1_000001_00.jpg" for pid in (4, 5)]
BARE = with_images([*TRAIN, *GALLERY, *QUERY])
MARKET = {f"{TOP}/{name}": content for name, content in BARE.items()}


def pack(path: Path, files: Files, method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_tar(path: Path, files: Files, compress: Callable[[bytes], bytes] = bytes) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(compress(buffer.getvalue()))
    return path


def unpack(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def below(*tops: str) -> Files:
    return {name: content for name, content in MARKET.items() if name.startswith(tuple(f"{TOP}/{top}" for top in tops))}


def pack_parts(raw: Path, *names: str) -> None:
    """Each archive with a part of the files of every folder."""
    for first, name in enumerate(names):
        pack(raw / name, dict(list(MARKET.items())[first :: len(names)]))


def mark(path: Path, method: int | None = None, flags: int = 0) -> None:
    """Another method, or more flags, in the headers of all members and in the list at the end of a zip."""
    content = bytearray(path.read_bytes())
    for signature, at_flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + at_flags] |= flags
            if method is not None:
                content[start + at_flags + 2] = method
            start = content.find(signature, start + 46)
    path.write_bytes(content)


def last_of_three(path: Path) -> None:
    """As a zip in volumes ends: number of this disk and of that where the list begins, and members on the first one."""
    content = bytearray(pack(path, MARKET).read_bytes()[4000:])
    end = content.rfind(b"PK\5\6")
    content[end + 4] = content[end + 6] = 2
    path.write_bytes(content)


WHOLE = {  # all images are taken, whatever the form
    "tar.bz2": lambda raw: pack_tar(raw / f"{TOP}.tar.bz2", MARKET, bz2.compress),
    "tbz2": lambda raw: pack_tar(raw / f"{TOP}.tbz2", MARKET, bz2.compress),
    "tar.xz": lambda raw: pack_tar(raw / f"{TOP}.tar.xz", MARKET, lzma.compress),
    "TXZ": lambda raw: pack_tar(raw / f"{TOP}.TXZ", MARKET, lzma.compress),
    "a tar that is called zip": lambda raw: pack_tar(raw / f"{TOP}.zip", MARKET),
    "zip with bzip2": lambda raw: pack(raw / f"{TOP}.zip", MARKET, zipfile.ZIP_BZIP2),
    "zip with lzma": lambda raw: pack(raw / f"{TOP}.zip", MARKET, zipfile.ZIP_LZMA),
    "two parts of a drive": lambda raw: pack_parts(raw, f"{DRIVE}-001.zip", f"{DRIVE}-002.zip"),
    "twelve parts of a drive": lambda raw: pack_parts(raw, *(f"{DRIVE}-{n:03d}.zip" for n in range(1, 13))),
    "parts with a number of the download": lambda raw: pack_parts(raw, f"{DRIVE}-1-001.zip", f"{DRIVE}-1-002.zip"),
    "parts of several downloads": lambda raw: pack_parts(raw, f"{DRIVE}-001.zip", f"{DRIVE[:-3]}59Z-001.zip"),
    "parts in words": lambda raw: pack_parts(raw, "market.part1.zip", "market.part2.zip", "market.part3.zip"),
    "parts from 0": lambda raw: pack_parts(raw, "market-000.zip", "market-001.zip"),
    "parts whose names say nothing": lambda raw: pack_parts(raw, "a.zip", "b.zip"),
    "parts in a folder": lambda raw: pack_parts(raw / "downloads", f"{DRIVE}-001.zip", f"{DRIVE}-002.zip"),
    "a zip for each folder": lambda raw: [
        pack(raw / f"{folder}-20240101T000000Z-001.zip", below(folder))
        for folder in ("bounding_box_train", "bounding_box_test", "query")
    ],
    "a zip for each folder, without the top": lambda raw: [
        pack(raw / f"{folder}.zip", {name: content for name, content in BARE.items() if name.startswith(folder)})
        for folder in ("bounding_box_train", "bounding_box_test", "query")
    ],
    "parts that are unpacked into folders of their own": lambda raw: [
        unpack(raw / f"{DRIVE}-00{n + 1}", dict(list(MARKET.items())[n::2])) for n in range(2)
    ],
    "unpacked, with the parts left there": lambda raw: [
        unpack(raw, MARKET),
        pack_parts(raw, f"{DRIVE}-001.zip", f"{DRIVE}-002.zip"),
    ],
    "unpacked, with a RAR in parts left there": lambda raw: [
        unpack(raw, MARKET),
        (raw / "market.part1.rar").write_bytes(b"Rar!\x1a\x07\x01\0"),
    ],
}


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE.keys())
def test_all_images_of_an_archive_or_of_all_parts_are_taken(make, tmp_path, outcome):
    make(raw := made(tmp_path / "market1501/raw"))
    became = outcome(lambda: datasets.create("market1501", tmp_path))
    assert became.refusal == ""
    for split, names in (("trainval", TRAIN), ("query", QUERY), ("gallery", GALLERY)):
        samples = getattr(became.value, split)
        assert sorted(map(became.value.original_name, samples)) == sorted(names)
        for sample in samples:
            assert Path(sample.path).read_bytes() == BARE[became.value.original_name(sample)]
    assert raw.is_dir()


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def marked(**marks: int) -> Callable[[Path], None]:
    return lambda raw: mark(pack(raw / "m.zip", MARKET), **marks)


def written(name: str, content: bytes) -> Callable[[Path], int]:
    return lambda raw: (raw / name).write_bytes(content + bytes(4000))


def several(*names: str) -> Callable[[Path], list[int]]:
    return lambda raw: [(raw / name).write_bytes(b"\x93" * 999) for name in names]


UNPACK = "another tool, such as 7-Zip"
REFUSED = {  # what the message says
    "Deflate64": (marked(method=9), "m.zip is compressed with Deflate64 (method 9)", UNPACK),
    "zstd in a zip": (marked(method=93), "m.zip is compressed with zstd (method 93)", UNPACK),
    "PPMd": (marked(method=98), "m.zip is compressed with PPMd", UNPACK),
    "AES": (marked(method=99, flags=1), "m.zip is encrypted", UNPACK),
    "a password": (marked(flags=1), "m.zip is encrypted", UNPACK),
    "strong encryption": (marked(flags=0x41), "m.zip is encrypted", UNPACK),
    "RAR": (written("m.rar", b"Rar!\x1a\x07\0"), "m.rar is a RAR archive", UNPACK),
    "a RAR that is called zip": (written("m.zip", b"Rar!\x1a\x07\x01\0"), "m.zip is a RAR archive", UNPACK),
    "7z": (written("m.7z", b"7z\xbc\xaf\x27\x1c"), "m.7z is a 7z archive", UNPACK),
    "tar.zst": (written("m.tar.zst", b"\x28\xb5\x2f\xfd"), "m.tar.zst is compressed with zstd", UNPACK),
    "a page": (written("m.zip", b"\n<!DOCTYPE html><html>"), "m.zip is a web page", "download it again"),
    "no 002": (lambda raw: pack_parts(raw, f"{DRIVE}-001.zip", f"{DRIVE}-003.zip"), "but not", f"{DRIVE}-002.zip"),
    "no 001": (lambda raw: pack_parts(raw, f"{DRIVE}-002.zip"), "but not", f"{DRIVE}-001.zip"),
    "no 2 to 9": (
        lambda raw: pack_parts(raw, f"{DRIVE}-001.zip", f"{DRIVE}-010.zip"),
        f"not {DRIVE}-002.zip, {DRIVE}-003.zip, {DRIVE}-004.zip and 5 more",
    ),
    "a lone 001": (lambda raw: pack_parts(raw, f"{DRIVE}-001.zip"), "called like a part", f"such as {DRIVE}-002.zip"),
    "a lone part1": (lambda raw: pack_parts(raw, "m.part1.zip"), "called like a part", "such as m.part2.zip"),
    "a lone folder 001": (lambda raw: unpack(raw / f"{DRIVE}-001", MARKET), f"such as {DRIVE}-002, or rename it"),
    "no part 1": (lambda raw: pack_parts(raw, "m.part2.zip"), "but not m.part1.zip"),
    "no folder 001": (lambda raw: unpack(raw / f"{DRIVE}-002", MARKET), f"but not {DRIVE}-001; put"),
    "volumes without the second": (several("m.z01", "m.z03", "m.zip"), "but not m.z02; put"),
    "volumes without the last": (several("m.z01", "m.z02"), "but not m.zip; put"),
    "the last volume alone": (lambda raw: last_of_three(raw / "m.zip"), "m.zip is one of the volumes", UNPACK),
    "all pieces": (several("m.zip.001", "m.zip.002"), "m.zip.001 is one of the volumes of an archive", UNPACK),
    "pieces without the second": (several("m.7z.001", "m.7z.003"), "but not m.7z.002; put"),
    "pieces of split": (several("m.tar.gz.aa", "m.tar.gz.ab"), "m.tar.gz.aa is one of the volumes", UNPACK),
    "RAR volumes without the first": (several("m.part2.rar"), "but not m.part1.rar; put"),
    "a part that came twice": (
        lambda raw: pack_parts(raw, f"{DRIVE}-001.zip") or pack_parts(raw, f"{DRIVE}-001 (1).zip"),
        "is there twice, as",
        f"{DRIVE}-001 (1).zip/{TOP}",
    ),
    "one part unpacked": (
        lambda raw: unpack(raw, dict(list(MARKET.items())[::2])) or pack_parts(raw, f"{DRIVE}-001.zip"),
        f"but those of {{raw}}/{DRIVE}-001.zip are not",
    ),
    "two of three folders": (
        lambda raw: pack(raw / "m.zip", below("query", "bounding_box_test")),
        "bounding_box_train",
    ),
    "half a part": (
        lambda raw: (
            pack_parts(raw, f"{DRIVE}-001.zip")
            or (raw / f"{DRIVE}-002.zip").write_bytes(pack(raw / "x.zip", MARKET).read_bytes()[:999])
        ),
        f"{DRIVE}-002.zip is truncated or damaged",
        "download it again",
    ),
}


@pytest.mark.parametrize(("make", "words"), [(make, words) for make, *words in REFUSED.values()], ids=REFUSED.keys())
def test_what_is_not_a_whole_readable_archive_is_named(make, words, tmp_path, outcome):
    make(raw := made(tmp_path / "market1501/raw"))
    refusal = outcome(lambda: datasets.create("market1501", tmp_path)).refusal
    for each in words:
        assert each.format(raw=raw) in refusal
    damaged = "truncated" in words[0]
    assert damaged or "damaged" not in refusal
    assert sorted(path.name for path in (tmp_path / "market1501").iterdir()) == [".converting.lock", "raw"]


def test_an_archive_that_is_not_read_is_counted_where_another_has_the_set(tmp_path, outcome):
    raw = made(tmp_path / "market1501/raw")
    pack(raw / "m.zip", MARKET)
    written("distractors.rar", b"Rar!")(raw)
    became = outcome(lambda: datasets.create("market1501", tmp_path))
    assert len(became.value.trainval) == len(TRAIN)
    assert "1 files are not used: 1 archives that are not read (1 distractors.rar)" in became.counted


def test_a_lone_part_with_the_whole_set_is_taken(tmp_path, outcome):
    pack(
        made(tmp_path / "synth-a/raw") / f"{DRIVE}-001.zip", MARKET
    )  # of synth-a, any number of images is the whole set
    assert len(outcome(lambda: datasets.create("synth-a", tmp_path)).value.trainval) == len(TRAIN)


PEOPLE = [f"unreal_v1.1/images/{person}_c001_{n}.jpg" for person in (1, 2) for n in (0, 1)]
PLAIN = [f"{name} {label} 0" for label, name in enumerate(PEOPLE[:3])]
LISTS = {
    "of the paper's code": "".join(f"/home/me/unreal/{line} \n" for line in PLAIN),
    "with spaces in the path": "".join(f"/home/my self/my data/{line}\n" for line in PLAIN),
    "of Windows": "".join("D:\\data\\" + line.replace("/", "\\") + "\r\n" for line in PLAIN),
    "with a mark of UTF-8": "\ufeff" + "\n".join(PLAIN),
    "with tabs": "\n".join(line.replace(" ", "\t") for line in PLAIN),
    "with commas": "\n".join(line.replace(" ", ",") for line in PLAIN),
    "without labels": "\n".join(PEOPLE[:3]),
    "with lines twice and empty ones": "\n\n".join(PLAIN * 2),
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS.keys())
def test_the_images_of_a_list_of_unrealperson_are_taken(text, tmp_path, outcome):
    became = of_list(text, tmp_path, outcome)
    assert sorted(map(became.value.original_name, became.value.trainval)) == PEOPLE[:3]
    assert "not there" not in became.counted


def of_list(text, tmp_path, outcome):
    unpack(tmp_path / "unrealperson/raw", with_images(PEOPLE) | {"list_unreal_train.txt": text.encode()})
    return outcome(lambda: datasets.create("unrealperson", tmp_path))


def test_listed_images_that_are_not_there_are_counted(tmp_path, outcome):
    absent = "unreal_v4.3/images/9_c001_0.jpg"
    became = of_list("\n".join([*PLAIN, f"{absent} 3 0"]), tmp_path, outcome)
    assert len(became.value.trainval) == 3
    assert f"list_unreal_train.txt: 1 of 4 images are not there and left out: {absent}" in became.counted


BAD_LISTS = {
    "empty": ("\n \n", "list_unreal_train.txt is empty"),
    "of other archives": ("unreal_v4.3/images/9_c001_0.jpg 0 0\n", "list_unreal_train.txt names none of the images"),
    "of another set": ("0000/0000_000_01_0303morning_0008_0.jpg 0\n", "the line '0000/0000_000_01"),
}


@pytest.mark.parametrize(("text", "words"), BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_list_of_unrealperson_that_is_of_no_use_is_named(text, words, tmp_path, outcome):
    assert words in of_list(text, tmp_path, outcome).refusal


MSMT17 = {
    "train": ["0000/0000_000_01_0303morning_0008_0.jpg", "0001/0001_001_12_0303morning_0015_1_ex.jpg"],
    "val": [],
    "query": ["0000/0000_000_05_0303morning_0020_0.jpg"],
    "gallery": ["0000/0000_001_14_0303morning_0021_0.jpg"],
}
WRITERS = {
    "lines of Windows": lambda line: f"{line}\r\n",
    "spaces at the end": lambda line: f"{line}  \n",
    "tabs": lambda line: line.replace(" ", "\t") + "\n",
    "several spaces": lambda line: line.replace(" ", "    ") + "\n",
    "backslashes": lambda line: line.replace("/", "\\") + "\n",
    "a dot before": lambda line: f"./{line}\n",
    "a path before": lambda line: f"/data/MSMT17 V1/train/{line}\n",
}


def of_lists(tmp_path, outcome, write=WRITERS["lines of Windows"], mark="", **texts):
    files = with_images([f"{'train' if key == 'train' else 'test'}/{name}" for key in MSMT17 for name in MSMT17[key]])
    for key, names in MSMT17.items():
        text = texts.get(key, mark + "".join(write(f"{name} {int(name[:4])}") for name in names))
        files[f"list_{key}.txt"] = text.encode()
    unpack(tmp_path / "msmt17/raw/MSMT17_V1", files)
    return outcome(lambda: datasets.create("msmt17", tmp_path))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_the_lists_of_msmt17_are_read_however_they_are_written(write, mark, tmp_path, outcome):
    became = of_lists(tmp_path, outcome, write, mark)
    assert became.refusal == ""
    found = {
        split: [(each.pid, each.camid) for each in getattr(became.value, split)] for split in ("trainval", "query")
    }
    assert found == {"trainval": [(0, 0), (1, 11)], "query": [(2, 4)]}


@pytest.mark.parametrize("key", ["train", "query", "gallery"])
def test_an_empty_list_of_msmt17_is_named(key, tmp_path, outcome):
    assert f"MSMT17_V1/list_{key}.txt is empty" in of_lists(tmp_path, outcome, **{key: "\r\n"}).refusal


@pytest.mark.parametrize("line", ["0000_000_01.jpg", "0000/a.jpg 0", "0000/0000_000_01_0303morning_0008_0.jpg x"])
def test_a_strange_line_of_msmt17_is_shown(line, tmp_path, outcome):
    refusal = of_lists(tmp_path, outcome, query=line).refusal
    assert f"list_query.txt: the line '{line}' is not like" in refusal
