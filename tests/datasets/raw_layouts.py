"""Tiny raw datasets in the true layout of each archive, and the three ways in which users have them."""

import functools
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from reid.datasets import Dataset

Files = dict[str, bytes]


@functools.cache
def jpeg(shade: int) -> bytes:
    """A small image whose content tells which one it is."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 32), (shade % 256, shade // 256, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def _with_images(names: list[str]) -> Files:
    return {name: jpeg(shade) for shade, name in enumerate(names)}


def market(top: str = "Market-1501-v15.09.15") -> Files:
    """Training pids 2, 7, 10; test pids 1, 3; a distractor, two junk images, and things that are no images."""
    names = [f"bounding_box_train/{pid:04d}_c{cam}s1_000{pid}_0{cam}.jpg" for pid in (2, 7, 10) for cam in (1, 3, 6)]
    names += [f"bounding_box_test/{pid:04d}_c{cam}s1_000{pid}_0{cam}.jpg" for pid in (1, 3) for cam in (2, 5)]
    names += ["bounding_box_test/0000_c4s2_000001_01.jpg"]
    names += [f"bounding_box_test/-1_c{cam}s1_000401_03.jpg" for cam in (1, 2)]
    names += [f"query/{pid:04d}_c1s1_000{pid}_00.jpg" for pid in (1, 3)]
    names += ["gt_bbox/0001_c1s1_000151_00.jpg"]
    files = _with_images([f"{top}/{name}" for name in names])
    others = {
        "query/Thumbs.db": b"not an image",
        "gt_query/0001_c1s1_000151_00_good.mat": b"MATLAB",
        "readme.txt": b"hi",
    }
    return files | {f"{top}/{name}": content for name, content in others.items()}


def duke(top: str = "DukeMTMC-reID") -> Files:
    """Sparse pids; pid 7140 is only in the gallery."""
    names = [f"bounding_box_train/{pid:04d}_c{cam}_f00461{cam}.jpg" for pid in (1, 40) for cam in (2, 8)]
    names += [f"bounding_box_test/{pid:04d}_c{cam}_f00462{cam}.jpg" for pid in (5, 7140) for cam in (1, 7)]
    return _with_images([f"{top}/{name}" for name in [*names, "query/0005_c3_f0046303.jpg"]])


MSMT17_NAMES = {
    "train": ["0000/0000_000_01_0303morning_0008_0.jpg", "0000/0000_001_12_0303morning_0015_1_ex.jpg"],
    "val": ["0001/0001_000_15_0302noon_0049_12.jpg"],
    "query": ["0000/0000_000_05_0303morning_0020_0.jpg"],
    "gallery": ["0000/0000_001_14_0303morning_0021_0.jpg", "0001/0001_000_01_0113noon_0022_2.jpg"],
}


def msmt17(top: str = "MSMT17_V1", train: str = "train", test: str = "test") -> Files:
    """Two training people, and two others in the test set who have the same numbers."""
    files: Files = {}
    for split, paths in MSMT17_NAMES.items():
        folder = train if split in ("train", "val") else test
        files |= {f"{top}/{folder}/{path}": jpeg(len(files) + shade) for shade, path in enumerate(paths)}
        lines = "".join(f"{path} {int(path[:4])}\n" for path in paths)
        files[f"{top}/list_{split}.txt"] = lines.encode()
    return files


def personx(top: str = "personX456", cameras: tuple[int, ...] = (4, 5, 6)) -> Files:
    """Query images are in the gallery too."""
    names = [f"bounding_box_train/0001_c{cam}s1_33.jpg" for cam in cameras]
    names += [f"bounding_box_test/{pid:04d}_c{cam}s1_07.jpg" for pid in (2, 9) for cam in cameras]
    names += [f"query/{pid:04d}_c{cam}s1_07.jpg" for pid in (2, 9) for cam in cameras]
    return _with_images([f"{top}/{name}" for name in names])


def unrealperson() -> Files:
    """The same P in two versions and the same D in two scenes: four identities, three cameras."""
    names = ["unreal_v3.1/images/333_c001_78.jpg", "unreal_v3.1/images/333_c001_79.jpg"]
    names += ["unreal_v3.2/images/333_c001_78.jpg", "unreal_v1.1/images/333_c001_5.jpg"]
    return _with_images([*names, "unreal_v1.1/images/4_c002_1.jpg", "unreal_v1.3/images/4_c002_1.jpg"])


def randperson() -> Files:
    """Nested twice, as it unpacks, and with both orders of scene and camera."""
    names = ["000000_s00_c01_f000264.jpg", "000000_c00_s01_f001032.jpg", "000003_s10_c03_f000100.jpg"]
    return _with_images([f"randperson_subset/randperson_subset/{name}" for name in names])


RAW: dict[str, Callable[[], Files]] = {
    "market1501": market,
    "dukemtmc": duke,
    "msmt17": msmt17,
    "personx": personx,
    "unrealperson": unrealperson,
    "randperson": randperson,
    "synth-a": lambda: market("synth-a"),
}


def unpack(raw: Path, files: Files) -> None:
    for name, content in files.items():
        assert not name.startswith("/")
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(content)


def pack_zip(raw: Path, files: Files, name: str = "archive.zip") -> Path:
    raw.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(raw / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    return raw / name


def pack_tar(raw: Path, files: Files, name: str = "archive.tar.gz") -> Path:
    raw.mkdir(parents=True, exist_ok=True)
    with tarfile.open(raw / name, "w:gz" if name.endswith("gz") else "w") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return raw / name


FORMS = {"zip": pack_zip, "tar.gz": pack_tar, "unpacked": unpack}


def triples(dataset: Dataset, split: str) -> list[tuple[str, int, int]]:
    """(raw name, pid, camid) of a split, sorted."""
    samples = getattr(dataset, split)
    return sorted((dataset.original_name(sample), sample.pid, sample.camid) for sample in samples)


def listing(home: Path) -> list[str]:
    """What lies in the folder of a dataset, but for the lock by which processes wait for one another."""
    return sorted(path.name for path in home.iterdir() if path.name != ".converting.lock")


def snapshot(home: Path) -> dict[str, bytes]:
    """Every file of the converted form, and anything that a conversion left behind; not the raw data, nor its names."""
    files = (path for path in home.rglob("*") if path.is_file() and path.name != ".converting.lock")
    found = {str(path.relative_to(home)): path.read_bytes() for path in files if "raw" not in path.parts}
    if "meta.json" in found:
        meta = json.loads(found["meta.json"])
        assert all(len(fingerprint) == 64 for fingerprint in meta.pop("raw"))
        found["meta.json"] = json.dumps(meta).encode()
    return found
