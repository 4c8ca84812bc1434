"""Images of a folder under a perturbation: the PNG files hold what the evaluation sees, within the budget."""

import os
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from ranks import together

from reid import UsageError, attacks
from reid.attacks import Threat, controls
from reid.attacks.apply import main
from reid.attacks.folders import grey_levels, perturbed, png_names, write_perturbed
from reid.datasets import loose
from reid.loading import ImageStore, to_images

CPU = torch.device("cpu")
SIZE = (16, 8)  # height and width of the perturbations here


@pytest.fixture
def folder(tmp_path):
    """Seven pictures of three sizes and three formats in two folders, which end in black and white."""
    random = np.random.default_rng(0)
    sizes = [(16, 8), (32, 16), (20, 11)]
    for i in range(7):
        pixels = random.integers(0, 256, (*sizes[i % 3], 3), dtype=np.uint8)
        pixels[0, 0], pixels[0, 1] = 0, 255
        path = tmp_path / "images" / ("query", "gallery/far")[i % 2] / f"{i:04d}.{('png', 'bmp', 'webp')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    return tmp_path / "images"


@pytest.fixture
def attack(tmp_path):
    """`attack(eps_color, eps_delta)`: the path of a random perturbation file with these budgets in grey levels."""

    def build(color=8.0, delta=8.0):
        noise = controls.random_both(Threat(color / 255, delta / 255), 0, *SIZE)
        return attacks.save(tmp_path / f"{color}-{delta}.pth", noise, {})

    return build


def read(folder):
    """Name -> pixels (H, W, 3) of all files below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): np.asarray(Image.open(path)).astype(int) for path in files}


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def change(out, clean):
    return {name: np.abs(pixels - clean[name]).max() for name, pixels in out.items()}


def resized(folder):
    """The clean images at the size of the perturbation, as the evaluation decodes them, by the names of the copies."""
    samples = loose.samples(folder)
    store = ImageStore(list(samples.values()), *SIZE, 1, "none")
    pixels = store.batch(range(len(samples))).permute(0, 2, 3, 1).numpy().astype(int)
    return {os.path.splitext(name)[0] + ".png": image for name, image in zip(samples, pixels, strict=True)}


def test_files_hold_what_the_evaluation_sees_rounded_to_8_bits(folder, attack, tmp_path):
    main([str(folder), "--attack", str(attack()), "--out", str(tmp_path / "out"), "--device", "cpu"])
    out, clean = read(tmp_path / "out"), resized(folder)
    assert out.keys() == clean.keys()
    noise = attacks.load(attack())
    for name, pixels in out.items():
        image = torch.from_numpy(clean[name]).byte().permute(2, 0, 1)[None]
        expected = (noise(to_images(image, CPU)).detach() * 255).round()[0].permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, expected)
    assert max(change(out, clean).values()) == 16


def test_images_may_keep_their_own_size(folder, attack, tmp_path, caplog):
    caplog.set_level("INFO")
    main([str(folder), "--attack", str(attack()), "--out", str(tmp_path / "out"), "--own-size", "--device", "cpu"])
    clean = {os.path.splitext(name)[0] + ".png": pixels for name, pixels in read(folder).items()}
    out = read(tmp_path / "out")
    assert {name: pixels.shape for name, pixels in out.items()} == {name: each.shape for name, each in clean.items()}
    largest = max(change(out, clean).values())
    assert 8 < largest <= 16
    assert f"no pixel changed by more than {largest} grey levels, of 16" in caplog.text


@pytest.mark.parametrize(
    ("color", "delta", "levels"), [(8, 8, 16), (0, 8, 8), (2.5, 3.9, 6), (0, 0.6, 0), (0.5, 0.5, 1), (255, 255, 255)]
)
@pytest.mark.parametrize("size", [["--own-size"], []])
def test_the_budget_holds_in_whole_grey_levels_after_rounding(color, delta, levels, size, folder, attack, tmp_path):
    """Rounded to the nearest, 3.9 levels would be 4 and 0.6 one: no more than the whole levels of a budget is used."""
    file = attack(color, delta)
    main([str(folder), "--attack", str(file), "--out", str(tmp_path / "out"), "--device", "cpu", *size])
    clean = resized(folder)
    if size:
        clean = {os.path.splitext(name)[0] + ".png": pixels for name, pixels in read(folder).items()}
    largest = change(read(tmp_path / "out"), clean)
    assert len(largest) == 7
    assert max(largest.values()) <= levels
    assert (max(largest.values()) > 0) == (levels > 0)


def test_whole_budgets_are_whole_numbers_of_levels_whatever_they_are_made_of():
    for color in range(256):
        for delta in (0, 1, 8, 100, color):
            assert grey_levels(Threat(color / 255, delta / 255)) == min(255, color + delta)


def test_another_budget_is_taken(folder, attack, tmp_path):
    options = [str(folder), "--attack", str(attack()), "--out", str(tmp_path / "out"), "--device", "cpu"]
    main([*options, "--eps", "2/255"])
    assert max(change(read(tmp_path / "out"), resized(folder)).values()) == 4


def test_a_table_of_colours_has_no_size_of_its_own(folder, tmp_path):
    file = attacks.save(tmp_path / "lut.pth", controls.random_lut(Threat(8 / 255, 0), 0), {})
    options = [str(folder), "--attack", str(file), "--device", "cpu"]
    main([*options, "--out", str(tmp_path / "usual")])
    main([*options, "--out", str(tmp_path / "asked"), "--height", "12", "--width", "6"])
    assert {pixels.shape for pixels in read(tmp_path / "usual").values()} == {(256, 128, 3)}
    assert {pixels.shape for pixels in read(tmp_path / "asked").values()} == {(12, 6, 3)}


def test_images_are_checked_without_threads_of_their_own_too(folder):
    assert loose.samples(folder, workers=0) == loose.samples(folder, workers=2)


def test_names_are_kept_apart():
    assert png_names(["b/x.jpg", "a.PNG", "a.b.jpeg"]) == {
        "b/x.jpg": "b/x.png",
        "a.PNG": "a.png",
        "a.b.jpeg": "a.b.png",
    }
    assert png_names(["a.jpg", "a.png", "b.jpg"]) == {"a.jpg": "a.jpg.png", "a.png": "a.png.png", "b.jpg": "b.jpg.png"}


def test_what_is_there_is_replaced_on_request_only(folder, attack, tmp_path):
    options = [str(folder), "--attack", str(attack()), "--out", str(tmp_path / "out"), "--device", "cpu"]
    (tmp_path / "out/query").mkdir(parents=True)
    for name in ("query/0002.png", "query/mine.png"):
        (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(UsageError, match=r"has 1 of the images already: query/0002\.png; .*--overwrite"):
        main(options)
    assert names(tmp_path / "out") == {"query/0002.png", "query/mine.png"}
    main([*options, "--overwrite"])
    assert names(tmp_path / "out") == {*resized(folder), "query/mine.png"}
    assert (tmp_path / "out/query/mine.png").read_text() == "mine"
    assert Image.open(tmp_path / "out/query/0002.png").size == (8, 16)


def test_all_appear_or_none(folder, attack, tmp_path, monkeypatch):
    saved = []

    def fail(pixels, path):
        if len(saved) == 5:
            raise OSError(28, "No space left on device", path)
        saved.append(path)

    monkeypatch.setattr("reid.attacks.folders._save", fail)
    with pytest.raises(OSError, match="No space left"):
        main([str(folder), "--attack", str(attack()), "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_perturbed_image_is_within_reach_of_the_clean_one_and_of_the_range():
    noise = attacks.create(2, eps_delta=3.4 / 255, height=4, width=4)
    noise.delta.data.fill_(3.4 / 255)
    pixels = torch.tensor([0, 100, 253, 255], dtype=torch.uint8).expand(1, 3, 4, 4)
    assert perturbed(noise, pixels, CPU)[0, 0, 0].tolist() == [3, 103, 255, 255]
    noise = attacks.create(2, eps_delta=3.6 / 255, height=4, width=4)
    noise.delta.data.fill_(3.6 / 255)
    assert perturbed(noise, pixels, CPU)[0, 0, 0].tolist() == [3, 103, 255, 255]


def write(folder, file, out):
    return write_perturbed(attacks.load(file), loose.samples(folder), out, SIZE, CPU)


def test_several_processes_write_their_parts_and_all_know_the_largest_change(folder, attack, tmp_path):
    alone = write(folder, attack(), tmp_path / "alone")
    results = together(2, [partial(write, folder, attack(), tmp_path / "both")], tmp_path)
    assert results == [[alone], [alone]]
    both = read(tmp_path / "both")
    assert both.keys() == read(tmp_path / "alone").keys()
    assert all(np.array_equal(pixels, both[name]) for name, pixels in read(tmp_path / "alone").items())
    assert {path.name for path in (tmp_path / "both").iterdir()} == {"query", "gallery"}
