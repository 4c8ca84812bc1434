"""Universal perturbations of other projects, in every order, unit and container that was seen: used, or refused."""

import os
import re
import zipfile

import numpy as np
import pytest
import torch

from reid import attacks

EPS = 10 / 255
IMAGE = (np.random.default_rng(0).uniform(-1, 1, (3, 8, 4)) * EPS).astype(np.float32)  # (3, H, W), image units
IMAGE.flat[0] = -EPS  # so that the largest value, and with it the unit, is known
GREY = (IMAGE * 255).round()
LAST = IMAGE.transpose(1, 2, 0)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path.with_name(path.name + ".npz") if path.suffix != ".npz" else path


def zipped_text(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "none")


def cut(path):
    np.save(path, IMAGE)
    path.write_bytes(path.read_bytes()[:-20])


def large_header(path):
    """A header that promises more than any memory holds."""
    np.save(path, np.zeros((3, 8, 4), np.float32))
    path.write_bytes(path.read_bytes().replace(b"(3, 8, 4)", b"(3,9**9,)").replace(b"9**9", b"9999"))


def objects(path):
    np.save(path, np.array([{"delta": IMAGE}, None], dtype=object), allow_pickle=True)


# name -> (name of the file, how it is written, the image (3, H, W) that is meant)
TAKEN = {
    "channels first": ("u.npy", lambda p: np.save(p, IMAGE), IMAGE),
    "with a batch of one": ("u.npy", lambda p: np.save(p, IMAGE[None]), IMAGE),
    "with two of them": ("u.npy", lambda p: np.save(p, IMAGE[None, None]), IMAGE),
    "channels last": ("u.npy", lambda p: np.save(p, LAST), IMAGE),
    "channels last, a batch of one": ("u.npy", lambda p: np.save(p, LAST[None]), IMAGE),
    "the same for each of a batch": ("u.npy", lambda p: np.save(p, np.repeat(IMAGE[None], 5, 0)), IMAGE),
    "the same, channels last": ("u.pt", lambda p: torch.save(torch.tensor(LAST).expand(4, 8, 4, 3), p), IMAGE),
    "double precision": ("u.npy", lambda p: np.save(p, IMAGE.astype(np.float64)), IMAGE),
    "half precision": ("u.npy", lambda p: np.save(p, IMAGE.astype(np.float16)), IMAGE.astype(np.float16)),
    "big-endian": ("u.npy", lambda p: np.save(p, IMAGE.astype(">f4")), IMAGE),
    "columns first in memory": ("u.npy", lambda p: np.save(p, np.asfortranarray(IMAGE)), IMAGE),
    "bfloat16": ("u.pth", lambda p: torch.save(torch.tensor(IMAGE).bfloat16(), p), None),
    "a parameter": ("u.pth", lambda p: torch.save(torch.nn.Parameter(torch.tensor(IMAGE)), p), IMAGE),
    "grey levels": ("u.npy", lambda p: np.save(p, GREY), GREY / 255),
    "grey levels, channels last": ("u.npy", lambda p: np.save(p, GREY.transpose(1, 2, 0)), GREY / 255),
    "grey levels that are not whole": ("u.npy", lambda p: np.save(p, IMAGE * 255), IMAGE),
    "signed bytes": ("u.npy", lambda p: np.save(p, GREY.astype(np.int8)), GREY / 255),
    "whole numbers": ("u.pt", lambda p: torch.save(torch.tensor(GREY).long(), p), GREY / 255),
    "two grey levels": ("u.npy", lambda p: np.save(p, np.sign(IMAGE) * 2), np.sign(IMAGE) * 2 / 255),
    "npz of one": ("u.npz", lambda p: np.savez(p, IMAGE), IMAGE),
    "npz, compressed, named": ("u.npz", lambda p: np.savez_compressed(p, uap=LAST, rate=0.9), IMAGE),
    "npz called npy": ("u.npy", lambda p: os.rename(npz(p, v=IMAGE), p), IMAGE),
    "npy called pth": ("u.pth", lambda p: os.rename(str(np.save(f"{p}.npy", IMAGE) or p) + ".npy", p), IMAGE),
    "a dict, delta": ("u.pth", lambda p: torch.save({"delta": torch.tensor(LAST)}, p), IMAGE),
    "a dict, perturbation": ("u.pt", lambda p: torch.save({"perturbation": torch.tensor(IMAGE), "eps": 10}, p), IMAGE),
    "a dict, noise": ("u.pt", lambda p: torch.save({"noise": torch.tensor(GREY), "epoch": 3}, p), GREY / 255),
    "a dict, UAP": ("u.pt", lambda p: torch.save({"UAP": torch.tensor(IMAGE), "rates": torch.rand(9)}, p), IMAGE),
    "larger than its budget": ("u.npy", lambda p: np.save(p, IMAGE * 4), (IMAGE * 4).clip(-EPS, EPS)),
    "nothing": ("u.npy", lambda p: np.save(p, IMAGE * 0), IMAGE * 0),
}
REFUSED = {
    "several": ("u.npy", lambda p: np.save(p, np.stack([IMAGE, -IMAGE])), r"\[2, 3, 8, 4\], several different images"),
    "several, last": ("u.npy", lambda p: np.save(p, np.stack([LAST, -LAST, LAST])), "save the one that is wanted"),
    "three by three": ("u.npy", lambda p: np.save(p, IMAGE[:, :, :3]), r"not \(3, H, W\) or \(H, W, 3\)"),
    "one channel": ("u.npy", lambda p: np.save(p, IMAGE[:1]), r"\[1, 8, 4\], not \(3, H, W\)"),
    "four channels": ("u.npy", lambda p: np.save(p, np.zeros((8, 4, 4))), r"\[8, 4, 4\], not \(3, H, W\)"),
    "flat": ("u.npy", lambda p: np.save(p, IMAGE.ravel()), r"\[96\], not \(3, H, W\)"),
    "a number": ("u.npy", lambda p: np.save(p, np.float32(0.1)), r"\[\], not \(3, H, W\)"),
    "no places": ("u.npy", lambda p: np.save(p, np.zeros((3, 0, 4))), r"\[3, 0, 4\], not"),
    "bytes": ("u.npy", lambda p: np.save(p, (GREY + 128).astype(np.uint8)), r"uint8 in \[118, 1\d\d\].*offset"),
    "bytes that went round": (
        "u.npy",
        lambda p: np.save(p, GREY.astype(np.int8).view(np.uint8)),
        "unit is not certain",
    ),
    "an image": ("u.npy", lambda p: np.save(p, IMAGE * 10 + 0.5), r"float32 in .* unit is not certain"),
    "an image in grey levels": ("u.npy", lambda p: np.save(p, GREY + 128), "divide by 255 what is in grey levels"),
    "a normalised image": ("u.npy", lambda p: np.save(p, IMAGE / EPS * 2.4), "unit is not certain"),
    "signs": ("u.npy", lambda p: np.save(p, np.sign(IMAGE).astype(np.int8)), r"int8 in \[-1, 1\], .* not certain"),
    "rounded away": ("u.npy", lambda p: np.save(p, IMAGE.astype(int)), r"int64 in \[0, 0\]"),
    "truth values": ("u.npy", lambda p: np.save(p, IMAGE > 0), r"bool in \[0, 1\]"),
    "too large": ("u.npy", lambda p: np.save(p, GREY * 100), r"\[-1000, .*not certain"),
    "NaN": ("u.npy", lambda p: np.save(p, np.where(IMAGE < 0, np.nan, IMAGE)), r"\[nan, nan\]: no finite numbers"),
    "infinite": ("u.npy", lambda p: np.save(p, np.where(IMAGE < 0, np.inf, IMAGE)), "no finite numbers"),
    "complex": ("u.npy", lambda p: np.save(p, IMAGE.astype(complex)), "is not a perturbation file"),
    "text": ("u.npy", lambda p: np.save(p, np.array(["delta"])), "is not a perturbation file"),
    "objects": ("u.npy", objects, "an array of Python objects"),
    "two arrays": ("u.npz", lambda p: np.savez(p, delta=IMAGE, noise=IMAGE), "it holds delta, noise"),
    "another name": ("u.npz", lambda p: np.savez(p, weights=IMAGE), "it holds weights"),
    "a cut file": ("u.npy", cut, "truncated or damaged"),
    "a header that lies": ("u.npy", large_header, "truncated or damaged"),
    "an empty file": ("u.npy", lambda p: p.write_bytes(b""), "is empty"),
    "a web page": ("u.npy", lambda p: p.write_bytes(b"<html>quota exceeded</html>"), "is a web page"),
    "an archive of something else": ("u.npz", zipped_text, "."),
}


@pytest.fixture
def loaded(outcome, tmp_path):
    def load(name, write):
        write(tmp_path / name)
        return outcome(lambda: attacks.load(tmp_path / name, eps="10/255"))

    return load


@pytest.mark.parametrize("kind", TAKEN)
def test_taken_with_the_values_that_are_meant(kind, loaded):
    name, write, wanted = TAKEN[kind]
    found = loaded(name, write)
    assert not found.refusal
    assert found.value.noise_type == 2
    wanted = torch.tensor(IMAGE).bfloat16().float().numpy() if wanted is None else wanted
    np.testing.assert_allclose(found.value.delta.detach().numpy()[0], wanted.clip(-EPS, EPS), atol=1e-6)
    assert ("channels last" in found.counted) == ("last" in kind or kind in ("npz, compressed, named", "a dict, delta"))
    assert ("is cut to 10/255" in found.counted) == (kind == "larger than its budget")


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_the_order_or_unit_that_is_wanted(kind, loaded):
    name, write, words = REFUSED[kind]
    found = loaded(name, write)
    assert name in found.refusal
    assert re.search(words, found.refusal)
