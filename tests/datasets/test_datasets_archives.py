"""Archives from strangers: nothing outside, nothing by halves, and one line that names file and remedy."""

import bz2
import io
import lzma
import random
import re
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from raw_layouts import listing, market, msmt17, pack_tar, pack_zip, snapshot

from reid import datasets
from reid.errors import DatasetError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "root" / "market1501"


def refusal(home: Path) -> str:
    """The one-line error of creating the dataset; nothing is left beside the raw data, nothing outside the home."""
    with pytest.raises(DatasetError) as caught:
        datasets.create("market1501", home.parent)
    assert snapshot(home) == {}
    assert listing(home) == ["raw"]
    assert [path.name for path in home.parent.parent.iterdir()] == ["root"]
    assert "\n" not in str(caught.value)
    return str(caught.value)


HOSTILE_NAMES = [
    "../../../evil.jpg",
    "/evil.jpg",
    "query/../../evil.jpg",
    "..\\..\\evil.jpg",
    "C:\\evil.jpg",
    "C:/evil",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_names_that_lead_outside_are_refused(home, pack, name):
    archive = pack(home / "raw", market() | {name: b"evil"})
    message = refusal(home)
    assert str(archive) in message
    assert repr(name) in message
    assert "get the archive from" in message


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(home, kind):
    path = pack_tar(home / "raw", market(), "archive.tar")
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("Market-1501-v15.09.15/query/0009_c1.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    assert "member 'Market-1501-v15.09.15/query/0009_c1.jpg' is a link, a device" in refusal(home)


def test_a_symbolic_link_in_a_zip_is_refused(home):
    path = pack_zip(home / "raw", market())
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo("Market-1501-v15.09.15/query/0009_c1.jpg")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    assert "is a link" in refusal(home)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(("pack", "name"), [(pack_zip, "m.zip"), (pack_tar, "m.tar.gz"), (pack_tar, "m.tar")])
def test_a_truncated_archive_is_refused(home, pack, name, kept):
    path = pack(home / "raw", market(), name)
    content = path.read_bytes()
    end = content.rstrip(b"\0") if name == "m.tar" else content
    path.write_bytes(content[: int(len(end) * kept)])
    message = refusal(home)
    assert str(path) in message
    assert "download it again" in message


def start_of_member(path, index):
    with tarfile.open(path) as archive:
        return archive.getmembers()[index].offset


def test_a_tar_that_ends_between_two_members_is_truncated_too(home):
    path = pack_tar(home / "raw", market(), "m.tar")
    path.write_bytes(path.read_bytes()[: start_of_member(path, 10)])
    assert "truncated" in refusal(home)


@pytest.mark.parametrize(("pack", "name"), [(pack_zip, "m.zip"), (pack_tar, "m.tar.gz")])
def test_a_flipped_byte_is_found(home, pack, name):
    path = pack(home / "raw", market(), name)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x40
    path.write_bytes(content)
    message = refusal(home)
    assert str(path) in message


def test_a_header_damaged_in_the_middle_of_a_tar_is_found(home):
    path = pack_tar(home / "raw", market(), "m.tar")
    middle = start_of_member(path, 10)
    content = bytearray(path.read_bytes())
    content[middle : middle + 512] = b"\x7f" * 512
    path.write_bytes(content)
    assert "damaged" in refusal(home)


def test_a_zip_whose_list_states_wrong_sizes_is_damaged(home):
    path = home / "raw" / "m.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in market().items():
            archive.writestr(name, data)
    content = bytearray(path.read_bytes())
    for entry in re.finditer(rb"PK\x01\x02", bytes(content)):
        for field in (20, 24):
            (size,) = struct.unpack_from("<I", content, entry.start() + field)
            struct.pack_into("<I", content, entry.start() + field, size + 1_000_000)
    path.write_bytes(content)
    assert f"{path} is truncated or damaged (EOFError)" in refusal(home)


def test_a_zip_with_a_damaged_utf8_name_is_damaged(home):
    path = pack_zip(home / "raw", market() | {"Market-1501-v15.09.15/\u4eba.txt": b"people"})
    content = path.read_bytes()
    damaged = content.replace("\u4eba".encode(), b"\xff\xba\xba")
    assert damaged != content
    path.write_bytes(damaged)
    message = refusal(home)
    assert f"{path} is truncated or damaged" in message


@pytest.mark.parametrize("compress", [lzma.compress, bz2.compress])
@pytest.mark.parametrize("harm", ["no tar", "half", "flipped"])
def test_a_damaged_tar_in_another_compression_is_named(home, compress, harm):
    path = pack_tar(home / "raw", market() | {"noise": random.Random(0).randbytes(1 << 18)}, "m.tar")
    packed = bytearray(compress(b"no tar" * 1000 if harm == "no tar" else path.read_bytes()))
    if harm == "flipped":
        packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(packed[: len(packed) // 2] if harm == "half" else packed)
    assert f"{path} is truncated or damaged" in refusal(home)


def test_a_tar_in_another_compression_is_read(home):
    path = pack_tar(home / "raw", market(), "m.tar")
    path.write_bytes(lzma.compress(path.read_bytes()))
    assert len(datasets.create("market1501", home.parent).query) == 2


def test_a_compressed_tar_is_decompressed_once_to_list_and_once_to_extract(home, monkeypatch):
    pack_tar(home.with_name("msmt17") / "raw", msmt17())
    passes, open_tar = [], tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda *args: passes.append(args) or open_tar(*args))
    assert len(datasets.create("msmt17", home.parent).gallery) == 2
    assert len(passes) == 2


@pytest.mark.parametrize("name", ["Market.zip", "Market.tar.gz"])
def test_a_web_page_saved_as_archive_is_refused(home, name):
    (home / "raw").mkdir(parents=True)
    (home / "raw" / name).write_text("<html>Too many users have viewed this file</html>")
    assert "download it again" in refusal(home)


def test_an_encrypted_zip_is_refused(home):
    path = pack_zip(home / "raw", market())
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            content[start + flags] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(home)


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_dots_and_backslashes_that_stay_inside_are_no_reason_to_refuse(home, pack):
    pack(home / "raw", {f"./{name}".replace("/query/", "\\query\\"): content for name, content in market().items()})
    assert len(datasets.create("market1501", home.parent).query) == 2


def test_folders_among_the_members_are_no_reason_to_refuse(home):
    path = home / "raw" / "m.tar"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as archive:
        for folder in sorted({name.rpartition("/")[0] for name in market()}):
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        for name, content in market().items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert len(datasets.create("market1501", home.parent).query) == 2
