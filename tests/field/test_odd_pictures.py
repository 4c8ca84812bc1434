"""Files in the folders of a dataset that are not plain JPEGs: read as a literal reading has it, refused, or counted."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from reid import datasets
from reid.datasets import Sample
from reid.datasets.picture import check
from reid.loading import ImageStore

SIZE = HEIGHT, WIDTH = 32, 16
RANDOM = np.random.default_rng(0)
COARSE = Image.fromarray(RANDOM.integers(0, 256, (8, 4, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT))
COLOUR = np.asarray(COARSE)
DEEP = RANDOM.integers(0, 2**16, SIZE).astype(np.uint16)
LEVELS = np.round(DEEP / 257).astype(np.uint8)  # white is 255 and 65,535 = 257 x 255


def pixels(path: Path, cache: str = "none") -> np.ndarray:
    """What a batch has of a file, (height, width, 3)."""
    return ImageStore([Sample(str(path), 1, 0)], *SIZE, cache=cache).batch([0])[0].permute(1, 2, 0).numpy()


def own(folder: Path, suffix: str = "jpg", save: Callable[[Path], object] = COARSE.save) -> Path:
    """A set of two people, each asked for once; `save` writes one of the gallery's two images."""
    for name in ("query/1_c1", "query/2_c1", "gallery/1_c2"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        COARSE.save(folder / f"{name}.jpg")
    save(folder / f"gallery/2_c2.{suffix}")
    return folder


LOSSY = ["JPG", "JPEG", "jpe", "jfif", "mpo", "WebP", "avif", "gif", "jp2", "j2k"]
EXACT = ["Png", "apng", "tif", "TIFF", "bmp", "dib", "ppm", "pnm", "tga", "qoi", "pcx", "sgi", "dds"]
KNOWN = Image.registered_extensions()  # Pillow may be built without some


@pytest.mark.parametrize("suffix", [suffix for suffix in LOSSY + EXACT if f".{suffix.lower()}" in KNOWN])
def test_what_pillow_reads_is_used_whatever_its_suffix(tmp_path, outcome, suffix):
    data = outcome(lambda: datasets.create("folder", own(tmp_path, suffix)))
    assert len(data.value.gallery) == 2
    assert data.counted == ""
    path = tmp_path / f"gallery/2_c2.{suffix}"
    assert np.array_equal(pixels(path), np.asarray(Image.open(path).convert("RGB")))
    if suffix in EXACT:
        assert np.array_equal(pixels(path), COLOUR)


def test_the_suffix_need_not_be_the_format(tmp_path):
    path = own(tmp_path, save=lambda path: COARSE.save(path, format="PNG")) / "gallery/2_c2.jpg"
    assert np.array_equal(pixels(path), COLOUR)


def tiff(white_is_zero: bool = False) -> dict[str, object]:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0 if white_is_zero else 1
    return {"tiffinfo": tags}


GREY_16 = {
    "a.png": (DEEP, {}), "a.tif": (DEEP, {}), "big-endian.tif": (DEEP.astype(">u2"), {}), "a.pgm": (DEEP, {}),
    "a.jp2": (DEEP, {}), "packed.tif": (DEEP, {"compression": "tiff_lzw"}), "negative.tif": (65535 - DEEP, tiff(True)),
}  # fmt: skip


@pytest.mark.parametrize("name", GREY_16)
@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_16_bits_look_as_8_bits_do(tmp_path, name, cache):
    levels, options = GREY_16[name]
    (tmp_path / "images").mkdir()
    Image.fromarray(levels).save(tmp_path / "images" / name, **options)
    assert np.array_equal(pixels(tmp_path / "images" / name, cache), np.repeat(LEVELS[:, :, None], 3, 2))
    check(tmp_path / "images" / name, name)


def test_12_bits_are_stretched_too(tmp_path):
    """Written by hand, since Pillow only reads them: two pixels in three bytes."""
    first, second = 0, 4095
    packed = bytes([first >> 4, (first & 15) << 4 | second >> 8, second & 255]) * (HEIGHT * WIDTH // 2)
    tags = {256: WIDTH, 257: HEIGHT, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: HEIGHT, 279: len(packed)}
    entries = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in tags.items()
    )
    start = (8 + len(packed)).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(b"II*\0" + start + packed + len(tags).to_bytes(2, "little") + entries + bytes(4))
    expected = np.tile(np.array([0, 255], np.uint8), (HEIGHT, WIDTH // 2))
    assert np.array_equal(pixels(tmp_path / "a.tif")[:, :, 0], expected)


TURNED = {
    1: lambda image: image, 2: lambda image: image[:, ::-1], 3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1], 5: lambda image: image.swapaxes(0, 1), 6: lambda image: np.rot90(image),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1), 8: lambda image: np.rot90(image, -1),
}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_the_orientation_of_a_camera_is_followed(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TURNED[orientation](COLOUR))
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif, quality=100, subsampling=0)
    difference = np.abs(pixels(tmp_path / f"a.{suffix}").astype(int) - COLOUR)
    assert difference.max() <= (8 if suffix == "jpg" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    COARSE.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels(tmp_path / "a.png"), COLOUR)


@pytest.mark.parametrize("tag", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"\xff" * 100])
@pytest.mark.filterwarnings("ignore:.*EXIF")
def test_a_damaged_tag_does_not_damage_the_picture(tmp_path, tag):
    COARSE.save(tmp_path / "a.jpg", exif=tag)
    COARSE.save(tmp_path / "plain.jpg")
    assert np.array_equal(pixels(tmp_path / "a.jpg"), pixels(tmp_path / "plain.jpg"))


def palette(path: Path) -> None:
    COARSE.quantize(64).save(path, transparency=bytes(range(64)))


def see_through(path: Path) -> None:
    COARSE.convert("RGBA").save(path)
    image = Image.open(path)
    image.putalpha(0)
    image.save(path)


def grey_alpha(path: Path) -> None:
    COARSE.convert("LA").save(path)


def bilevel(path: Path) -> None:
    COARSE.convert("1").save(path)


def inks(path: Path) -> None:
    COARSE.convert("CMYK").save(path, format="TIFF")


@pytest.mark.parametrize("save", [palette, see_through, grey_alpha, bilevel, inks])
@pytest.mark.filterwarnings("error")
def test_other_modes_are_what_pillow_makes_of_them_without_their_alpha(tmp_path, save):
    save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.info.pop("transparency", None)
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels(tmp_path / "a.png"), expected)
    if save is see_through:
        assert np.array_equal(expected, COLOUR)


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_the_first_of_several_frames_is_the_picture(tmp_path, suffix):
    others = [Image.new("RGB", (WIDTH, HEIGHT), shade) for shade in ("black", "white")]
    lossless = {"lossless": True} if suffix == "webp" else {}
    red = Image.new("RGB", (WIDTH, HEIGHT), (255, 0, 0))
    red.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others, **lossless)
    assert np.array_equal(pixels(tmp_path / f"a.{suffix}"), np.asarray(red))


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "JPEG")
    return buffer.getvalue()


REFUSED = {  # bytes under the name of a JPEG, and what is said of them
    "empty": (b"", "not an image"),
    "text": (b"not an image", "not an image"),
    "half": (jpeg()[:900], "truncated"),
    "a header": (jpeg()[:100], "cannot be read as an image"),
    "a phone's": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo; save it as JPEG or PNG"),
    "xl": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    "a page": (b"\n<!DOCTYPE html><html>Quota exceeded", "a web page, as a failed download leaves it"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "run git lfs pull"),
    "a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "a document or a drawing"),
    "a drawing": (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "a document or a drawing"),
    "a bitmap of 4 GB": (b"BM" + b"\xff" * 60, "cannot be read as an image"),
    "a broken png": (b"\x89PNG\r\n\x1a\n" + bytes(64), "cannot be read as an image"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_image_is_named_when_it_is_decoded_and_when_it_is_converted(tmp_path, outcome, kind):
    content, words = REFUSED[kind]
    path = own(tmp_path, save=lambda path: path.write_bytes(content)) / "gallery/2_c2.jpg"
    for use in (lambda: pixels(path), lambda: check(path, str(path))):
        refusal = outcome(use).refusal
        assert str(path) in refusal
        assert words in refusal


@pytest.mark.parametrize("levels", [DEEP.astype(np.int32) * 1000, LEVELS.astype(np.float32)])
def test_numbers_without_a_known_white_are_refused(tmp_path, outcome, levels):
    Image.fromarray(levels).save(tmp_path / "depth.tif")
    refusal = outcome(lambda: pixels(tmp_path / "depth.tif")).refusal
    assert "depth.tif cannot be read as an image: it is of 32-bit numbers" in refusal
    assert "save it with 8 or 16 bits" in refusal


def broken_link(folder: Path) -> None:
    (folder / "gallery/3_c1.jpg").symlink_to(folder / "gone.jpg")


def circular_link(folder: Path) -> None:
    (folder / "gallery/3_c1.jpg").symlink_to(folder / "gallery/3_c1.jpg")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "gallery/3_c1.jpg")


def deep(folder: Path) -> None:
    place = folder.joinpath("gallery", *"abcdefghij")
    place.mkdir(parents=True)
    COARSE.save(place / "3_c1.jpg")


def put(*names: str) -> Callable[[Path], None]:
    def add(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            COARSE.save(folder / name, format="JPEG")

    return add


LEFT_OUT = {
    "1 files are not used: 1 links whose target is gone": broken_link,
    "1 links whose target": circular_link,
    "1 neither files nor folders": pipe,
    "1 folders below 9 others": deep,
    "2 files are not used: 2 files that are no images (2 .heic)": put("query/3_c1.heic", "gallery/3_c2.HEIC"),
    "3 files that are no images (1 no suffix, 1 .db, 1 .txt)": put("readme.txt", "query/Thumbs.db", "gallery/3_c1"),
    "3 images that no folder, list or draw asks for (2 gallery/cam1, 1 val)": put(
        "gallery/cam1/3_c1.jpg", "gallery/cam1/4_c1.jpg", "val/5_c1.jpg"
    ),
    "1 .mp4": put("query/film.mp4"),
    "1 images that no folder, list or draw asks for (1 top)": put("1_c1.jpg"),
    "1 archives that are not read (1 query.zip)": put("query.zip"),
}


@pytest.mark.parametrize("line", LEFT_OUT)
def test_whatever_is_not_used_is_counted_in_one_line_that_says_why(tmp_path, outcome, line):
    LEFT_OUT[line](own(tmp_path))
    data = outcome(lambda: datasets.create("folder", tmp_path))
    assert len(data.value.query + data.value.gallery) == 4
    assert line in data.counted
    assert data.counted.count("\n") == 0


def test_links_to_images_and_hidden_files_are_no_reason_for_a_line(tmp_path, outcome):
    own(tmp_path / "set")
    shutil.move(tmp_path / "set/gallery", tmp_path / "elsewhere")
    (tmp_path / "set/gallery").symlink_to(tmp_path / "elsewhere")
    for name in (".DS_Store", "query/._1_c1.jpg", "__MACOSX/query/1_c1.jpg", "cache/32x16-0.images"):
        put(name)(tmp_path / "set")
    data = outcome(lambda: datasets.create("folder", tmp_path / "set"))
    assert len(data.value.gallery) == 2
    assert data.counted == ""
