"""Features of a folder of images in a file: the right ones, under their names, with what made them."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from reid import UsageError, attacks, models
from reid.datasets import loose
from reid.errors import ReidError
from reid.evaluation.feature_files import write_features
from reid.loading import ImageStore, to_images
from reid.models.extract import main
from reid.runtime.files import sha256

SIZE = (32, 16)
OPTIONS = ["--device", "cpu", "--height", "32", "--width", "16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in ("z.jpg", "people/a.png", "people/b.webp", "文/ü.bmp"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 20, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return models.save_checkpoint(tmp_path_factory.mktemp("model") / "m.pth", models.create("resnet10", 5, seed=0))


@pytest.fixture(scope="module")
def attack(tmp_path_factory):
    noise = attacks.controls.random_both(attacks.Threat(8 / 255, 8 / 255), 0, *SIZE)
    return attacks.save(tmp_path_factory.mktemp("attack") / "n.pth", noise, {})


def expected(folder, model, noise=None):
    """Features of all images, one at a time."""
    victim, samples = models.load_victim(model), loose.samples(folder)
    store = ImageStore(list(samples.values()), *SIZE, 1, "none")
    images = [to_images(store.batch([i]), torch.device("cpu")) for i in range(len(samples))]
    with torch.no_grad():
        return torch.cat([victim(noise(image) if noise else image) for image in images]).numpy()


def read(path):
    """Names, features and metadata of either kind of file, as docs/features.md reads them."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return file["names"].tolist(), file["features"], json.loads(str(file["metadata"]))
    h5py = pytest.importorskip("h5py")
    with h5py.File(path) as file:
        names = file["names"].asstr(errors="surrogateescape")[:].tolist()
        return names, file["features"][:], json.loads(file.attrs["metadata"])


@pytest.mark.parametrize("suffix", ["npz", "h5", "hdf5", "NPZ"])
def test_a_file_has_names_features_and_what_made_them(suffix, folder, model, tmp_path):
    if suffix.startswith("h"):
        pytest.importorskip("h5py")
    out = tmp_path / "new" / f"features.{suffix}"
    main([str(folder), "--resume", str(model), "--out", str(out), *OPTIONS])
    names, features, metadata = read(out.rename(out.with_suffix(f".{suffix.lower()}")))
    assert names == ["people/a.png", "people/b.webp", "z.jpg", "文/ü.bmp"]
    assert (features.dtype, features.shape) == (np.float32, (4, 512))
    np.testing.assert_allclose(features, expected(folder, model), rtol=1e-4, atol=1e-5)
    assert metadata["model"]["sha256"] == sha256(model)
    assert metadata["model"]["arch"] == "resnet10"
    assert metadata["input"]["mean"] == [0.485, 0.456, 0.406]
    assert metadata["images"] == {"height": 32, "width": 16, "interpolation": "bilinear"}
    assert metadata["attack"] is None


def test_images_may_be_perturbed_first(folder, model, attack, tmp_path):
    shared = [str(folder), "--resume", str(model), "--attack", str(attack), *OPTIONS]
    for name, eps in (("own", None), ("less", "2/255")):
        main([*shared, "--out", str(tmp_path / f"{name}.npz"), *(["--eps", eps] if eps else [])])
        _, features, metadata = read(tmp_path / f"{name}.npz")
        noise = attacks.load(attack, eps)
        np.testing.assert_allclose(features, expected(folder, model, noise), rtol=1e-4, atol=1e-5)
        said = {"sha256": sha256(attack), "noise_type": 0, **noise.threat.to_dict()}
        assert metadata["attack"] == said


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text there")
def test_names_that_are_not_utf_8_survive(suffix, model, tmp_path):
    names = [b"\xd5\xd5\xc6\xac.png", b"caf\xe9/1.png", "日本/一.png".encode()]
    for name in names:
        path = os.path.join(os.fsencode(tmp_path / "images"), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            Image.new("RGB", (8, 16), (9, 99, 199)).save(file, "PNG")
    out = tmp_path / f"f.{suffix}"
    main([str(tmp_path / "images"), "--resume", str(model), "--out", str(out), *OPTIONS])
    assert sorted(map(os.fsencode, read(out)[0])) == sorted(names)


def test_a_file_is_replaced_on_request_only(folder, model, tmp_path):
    out = tmp_path / "f.npz"
    out.write_text("mine")
    options = [str(folder), "--resume", str(model), "--out", str(out), *OPTIONS]
    with pytest.raises(UsageError, match="is there already"):
        main(options)
    assert out.read_text() == "mine"
    main([*options, "--overwrite"])
    assert len(read(out)[0]) == 4


def test_hdf5_without_its_package_says_how_to_get_it_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"f\.h5 needs the package h5py .* pip install h5py"):
        main([str(tmp_path / "none"), "--resume", "none.pth", "--out", str(tmp_path / "f.h5")])


def test_features_that_are_no_numbers_are_not_written(folder, tmp_path):
    broken = models.create("resnet10", 5, seed=0)
    broken.base.conv1.weight.data.fill_(float("inf"))
    model = models.save_checkpoint(tmp_path / "broken.pth", broken)
    with pytest.raises(ReidError, match="4 of 4 image features hold NaN or infinite values"):
        main([str(folder), "--resume", str(model), "--out", str(tmp_path / "f.npz"), *OPTIONS])
    assert not (tmp_path / "f.npz").exists()


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(TypeError):
        write_features(tmp_path / "f.npz", ["a"], np.zeros((1, 2), np.float32), {"no": object()})
    assert list(tmp_path.iterdir()) == []
