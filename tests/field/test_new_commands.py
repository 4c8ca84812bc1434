"""Odd and hostile inputs of reid.attacks.apply, reid.models.extract and the rank lists of evaluate.py."""

import os
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from reid import attacks, models
from reid.attacks import Threat, apply, controls
from reid.models import extract
from tests.field.conftest import picture

SIZE = (16, 8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small model, and perturbations of each kind."""
    folder = tmp_path_factory.mktemp("files")
    threat = Threat(8 / 255, 8 / 255)
    attacks.save(folder / "both.pth", controls.random_both(threat, 0, *SIZE), {})
    attacks.save(folder / "odd.pth", controls.random_both(threat, 0, 7, 5), {})
    np.save(folder / "image.npy", controls.random_sign(threat, 0, *SIZE).delta.detach().numpy())
    models.save_checkpoint(folder / "model.pth", models.create("resnet10", 5, seed=0))
    return folder


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.fixture
def applied(tmp_path, files, outcome):
    """`applied(*options)`: the outcome of the command on tmp_path/images, whose value has the files by name."""

    def run(*options, folder=tmp_path / "images", attack="both.pth", out=tmp_path / "out"):
        def use():
            apply.main([str(folder), "--attack", str(files / attack), "--out", str(out), "--device", "cpu", *options])
            return {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}

        return outcome(use)

    return run


@pytest.fixture
def extracted(tmp_path, files, outcome):
    """`extracted(*options)`: the outcome of the command on tmp_path/images, whose value has the features by name."""

    def run(*options, folder=tmp_path / "images", out=tmp_path / "f.npz"):
        def use():
            shape = ["--height", "32", "--width", "16", "--device", "cpu"]
            extract.main([str(folder), "--resume", str(files / "model.pth"), "--out", str(out), *shape, *options])
            with np.load(out) as file:
                return dict(zip(file["names"].tolist(), file["features"], strict=True))

        return outcome(use)

    return run


# Folders: the same for both commands

WRITERS = {
    "a file": (lambda folder: picture(folder.with_suffix(".jpg")).rename(folder), "is a file, not a folder"),
    "nothing": (lambda folder: None, "no such folder"),
    "an empty folder": (lambda folder: folder.mkdir(), "no images in"),
    "empty folders": (lambda folder: (folder / "a/b").mkdir(parents=True), "no images in"),
    "text only": (lambda folder: note(folder / "a.txt"), r"no images in .*1 other files, as \.txt"),
    "hidden images only": (lambda folder: picture(folder / ".cache/a.png"), "no images in"),
    "an empty image": (
        lambda folder: (picture(folder / "a.png"), note(folder / "b.jpg", b"")),
        r"b\.jpg cannot be read",
    ),
    "half an image": (lambda folder: cut(picture(folder / "a.jpg", size=(64, 64))), r"a\.jpg cannot be read"),
    "a web page": (lambda folder: note(folder / "a.jpg", b"<!doctype html><html>"), r"a\.jpg .* it is a web page"),
    "three broken ones": (
        lambda folder: [note(folder / f"{i}.jpg", b"x") for i in range(4)],
        r"4 of 4 images in .* cannot be read: 0\.jpg, 1\.jpg, 2\.jpg, \.\.\.; restore or remove them",
    ),
    "no image of known white": (
        lambda folder: Image.fromarray(np.ones((8, 8), np.float32)).save(made(folder) / "a.tif"),
        r"a\.tif .*32-bit numbers",
    ),
}


def made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def note(path, content=b"hello"):
    made(path.parent)
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize("command", ["applied", "extracted"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_without_usable_images_is_refused(kind, command, tmp_path, request):
    write, words = WRITERS[kind]
    write(tmp_path / "images")
    tried = request.getfixturevalue(command)()
    assert re.search(words, tried.refusal), tried.refusal
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "f.npz").exists()


ODD_NAMES = [
    "a b.png",
    "ü/文.PNG",
    "-1.JPEG",
    "x.tar.png",
    "noext.webp",
    "sub/sub/sub/deep.bmp",
    "100%.jfif",
    "'q'.tiff",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_and_suffixes_are_taken(name, tmp_path, applied, extracted):
    picture(tmp_path / "images" / name)
    assert [*applied().value] == [os.path.splitext(name)[0] + ".png"]
    assert [*extracted().value] == [name]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_a_name_that_is_not_utf_8_is_taken(tmp_path, applied, extracted):
    picture(tmp_path / "images/a.png")
    os.rename(tmp_path / "images/a.png", os.fsencode(tmp_path / "images") + b"/\xd5\xc6.png")
    assert [os.fsencode(name) for name in applied().value] == [b"\xd5\xc6.png"]
    assert [os.fsencode(name) for name in extracted().value] == [b"\xd5\xc6.png"]


@pytest.mark.parametrize("command", ["applied", "extracted"])
def test_what_is_no_image_is_counted(command, tmp_path, request):
    for name in ("a.png", "b/c.jpg"):
        picture(tmp_path / "images" / name)
    for name in ("list.txt", "movie.mp4", "b/other.txt"):
        note(tmp_path / "images" / name)
    (tmp_path / "images/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    tried = request.getfixturevalue(command)()
    assert len(tried.value) == 2
    assert "3 other files, as .txt (2), .mp4 (1)" in tried.counted
    assert "1 links whose target is gone" in tried.counted


# Pictures: the colours that a literal reading gives


def grey_16(path):
    Image.fromarray(np.full((16, 8), 200 * 257, np.uint16)).save(path)


def palette(path):
    Image.new("RGB", (8, 16), (200, 200, 200)).quantize(4).save(path)


def transparent(path):
    Image.new("RGBA", (8, 16), (200, 200, 200, 3)).save(path)


def one_bit(path):
    Image.new("1", (8, 16), 1).save(path)


def grey_and_alpha(path):
    Image.new("LA", (8, 16), (200, 0)).save(path)


@pytest.mark.parametrize("draw", [grey_16, palette, transparent, one_bit, grey_and_alpha])
def test_pictures_of_other_modes_are_what_they_look_like(draw, tmp_path, files, applied):
    draw(made(tmp_path / "images") / "a.png")
    shade = 255 if draw is one_bit else 200
    expected = attacks.load(files / "both.pth")(torch.full((1, 3, *SIZE), shade / 255))
    expected = (expected.detach() * 255).round()[0].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(applied().value["a.png"]), expected)


def test_a_turned_picture_is_written_upright(tmp_path, applied):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    picture(tmp_path / "images/a.jpg", size=(20, 12), exif=exif)
    assert pixels(applied("--own-size").value["a.png"]).shape == (20, 12, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (300, 2)])
def test_tiny_and_narrow_pictures_are_taken_at_any_size(size, tmp_path, applied):
    picture(tmp_path / "images/a.png", size=size)
    assert pixels(applied().value["a.png"]).shape == (*SIZE, 3)
    own = applied("--own-size", "--overwrite").value["a.png"]
    assert pixels(own).shape == (size[1], size[0], 3)
    assert np.abs(pixels(own) - pixels(tmp_path / "images/a.png")).max() <= 16


# Where to, and with what


@pytest.mark.parametrize("out", ["images", "images/out", "images/deep/out", "images/../images/out", "link/out", "."])
def test_nothing_is_written_among_the_clean_images(out, tmp_path, applied):
    picture(tmp_path / "images/images/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "images")
    before = sorted(tmp_path.rglob("*"))
    assert "among the clean ones" in applied("--overwrite", out=tmp_path / out).refusal
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_place_of_out_is_refused(tmp_path, applied):
    picture(tmp_path / "images/a.png")
    note(tmp_path / "out")
    assert "out is a file; give a folder" in applied().refusal


def test_what_is_there_stays(tmp_path, applied, extracted):
    picture(tmp_path / "images/a.png")
    note(tmp_path / "out/a.png")
    note(tmp_path / "f.npz")
    assert "out has 1 of the images already: a.png" in applied().refusal
    assert "is there already" in extracted().refusal
    assert (tmp_path / "out/a.png").read_bytes() == (tmp_path / "f.npz").read_bytes() == b"hello"


def test_a_folder_in_place_of_the_features_is_refused(tmp_path, extracted):
    (tmp_path / "f.npz").mkdir()
    assert "is there already" in extracted("--overwrite").refusal


@pytest.mark.parametrize("out", ["f", "f.npy", "f.csv", "f.npz.gz", "f.pt", ".npz"])
def test_other_kinds_of_feature_files_are_refused(out, tmp_path, extracted):
    picture(tmp_path / "images/a.png")
    assert "must end in .npz, .h5 or .hdf5" in extracted(out=tmp_path / out).refusal


def test_images_that_differ_in_their_suffix_keep_it(tmp_path, applied):
    for name in ("a.jpg", "a.png", "b.bmp"):
        picture(tmp_path / "images" / name)
    assert sorted(applied().value) == ["a.jpg.png", "a.png.png", "b.bmp.png"]


@pytest.mark.parametrize(("attack", "shape"), [("odd.pth", (7, 5)), ("image.npy", SIZE)])
def test_an_attack_brings_its_size(attack, shape, tmp_path, applied):
    picture(tmp_path / "images/a.png")
    assert pixels(applied(attack=attack).value["a.png"]).shape == (*shape, 3)
    asked = applied("--height", "20", "--width", "10", "--overwrite", attack=attack).value["a.png"]
    assert pixels(asked).shape == (20, 10, 3)


def test_an_attack_of_another_size_is_resized_for_features(tmp_path, files, extracted):
    picture(tmp_path / "images/a.png")
    clean = extracted().value["a.png"]
    perturbed = extracted("--attack", str(files / "odd.pth"), "--overwrite").value["a.png"]
    assert np.isfinite(perturbed).all()
    assert not np.allclose(clean, perturbed)


@pytest.mark.parametrize(
    ("attack", "words"), [("model.pth", "not a perturbation file"), ("none.pth", "no such perturbation file")]
)
def test_a_model_is_no_attack(attack, words, tmp_path, applied):
    picture(tmp_path / "images/a.png")
    assert words in applied(attack=attack).refusal
    assert not (tmp_path / "out").exists()


def test_no_budget_changes_nothing(tmp_path, applied):
    picture(tmp_path / "images/a.png", size=(8, 16))
    tried = applied("--eps", "0")
    assert np.array_equal(pixels(tried.value["a.png"]), pixels(tmp_path / "images/a.png"))
    assert "no pixel changed by more than 0 grey levels, of 0" in tried.counted
