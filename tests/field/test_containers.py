"""Files around checkpoints, and files that are none: read, or named for what they are with the remedy that works."""

import bz2
import gzip
import io
import lzma
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from reid import models
from reid.models.checkpoint import Checkpoint
from reid.runtime import containers
from reid.runtime.files import sha256

STATE = {"conv.weight": torch.arange(12.0).reshape(3, 4), "bn.running_mean": torch.ones(3)}


def checkpoint(legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": STATE, "epoch": 3}, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def arrays(**others) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{key: value.numpy() for key, value in STATE.items()}, **others)
    return file.getvalue()


def pickled(protocol: int) -> bytes:
    return pickle.dumps({key: value.numpy() for key, value in STATE.items()}, protocol=protocol)


def repacked() -> bytes:
    """A checkpoint that was unpacked and packed again, in a folder, by a file manager."""
    with zipfile.ZipFile(io.BytesIO(checkpoint())) as archive:
        files = {f"model/{name}": archive.read(name) for name in archive.namelist()}
    return zipped(files | {"model/notes.txt": b"best of three"})


def same(state) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(value, state[key]) for key, value in STATE.items())


JUNK = {
    "README.md": b"# model",
    "opts.yaml": b"lr: 0.1",
    "__MACOSX/._m.pth": b"\0\5\x16\7" + bytes(60),
    ".DS_Store": b"1",
}
READ = {
    "m.zip": zipped({"weights/m.pth": checkpoint()}),
    "stored.zip": zipped({"m.pth": checkpoint()}, zipfile.ZIP_STORED),
    "with others.zip": zipped({**JUNK, "m.pth.tar-60": checkpoint()}),
    "legacy.zip": zipped({"m.pth": checkpoint(legacy=True)}),
    "tensors.zip": zipped({"config.json": b"{}", "m.safetensors": safetensors.torch.save(STATE)}),
    "zip in zip.zip": zipped({"a.zip": zipped({"m.pth": checkpoint()})}),
    "m.pth": zipped({"m.pth": checkpoint()}),
    "m.pth.tar": tarred({"m.pth": checkpoint()}),
    "dotted.tar": tarred({"./m.pth": checkpoint(), "./._m.pth": b"\0\5\x16\7"}),
    "m.tar.gz": tarred({"weights/m.pth": checkpoint()}, "w:gz"),
    "m.tar.bz2": tarred({"m.pth": checkpoint(legacy=True)}, "w:bz2"),
    "m.tar.xz": tarred({"log.txt": b"loss 0.1", "m.pth": checkpoint()}, "w:xz"),
    "m.pth.gz": gzip.compress(checkpoint()),
    "m.pth.bz2": bz2.compress(checkpoint()),
    "m.pth.xz": lzma.compress(checkpoint(legacy=True)),
    "repacked.zip": repacked(),
    "m.npz": arrays(),
    "args.npz": arrays(args=np.array([{"lr": 1}], dtype=object)),
    "m.safetensors": safetensors.torch.save(STATE),
    "half.safetensors": safetensors.torch.save({key: value.bfloat16() for key, value in STATE.items()}),
    "named otherwise.pth": safetensors.torch.save(STATE, {"format": "pt"}),
    "whole.pth.part": checkpoint(),
    "ckpt.t7": checkpoint(legacy=True),
    **{f"protocol {protocol}.pkl": pickled(protocol) for protocol in range(6)},
}


@pytest.mark.parametrize("name", READ)
def test_a_checkpoint_is_read_whatever_is_around_it(name, outcome, tmp_path):
    (tmp_path / name).write_bytes(READ[name])
    result = outcome(lambda: Checkpoint.read(tmp_path / name))
    assert same(result.value.state), result
    assert ("is an archive; " in result.counted) == (containers.kind_of(tmp_path / name) == "archive")


@pytest.mark.parametrize("inner", [".", "archive"])
def test_an_unpacked_checkpoint_is_its_folder(inner, outcome, tmp_path):
    (tmp_path / "m.pth").write_bytes(checkpoint())
    with zipfile.ZipFile(tmp_path / "m.pth") as archive:
        archive.extractall(tmp_path / "unpacked")
    (root,) = (tmp_path / "unpacked").iterdir()
    folder = shutil.move(root, tmp_path / "m") if inner == "." else root.parent
    assert same(models.read_checkpoint(folder))
    assert len(sha256(folder)) == 64
    before = sha256(folder)
    storage = next(Path(folder).rglob("data/0"))
    storage.write_bytes(storage.read_bytes()[::-1])
    assert sha256(folder) != before
    pkl = next(Path(folder).rglob("data.pkl"))
    assert "give the folder of both" in outcome(lambda: models.read_checkpoint(pkl)).refusal
    storage.unlink()
    assert "truncated or damaged" in outcome(lambda: models.read_checkpoint(folder)).refusal


def test_the_metadata_of_safetensors_are_content(tmp_path):
    metadata = {"height": "64", "width": "32", "arch": "x", "state_dict": "mine"}
    safetensors.torch.save_file(STATE, tmp_path / "m.safetensors", metadata)
    found = Checkpoint.read(tmp_path / "m.safetensors")
    assert same(found.state)
    assert found.trained_size == (64, 32)
    assert found.content["arch"] == "x"


def torchscript() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 2, 1), torch.ones(1, 3, 2, 2)), file)
    return file.getvalue()


ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x80\x01" + bytes(200)
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(600)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
EXPORTED = {"x/archive_format": b"pt2", "x/models/model.json": b"{}", "x/data/weights/weight_0": bytes(16)}
OTHERS = {
    "model.torchscript": (torchscript, "a TorchScript program"),
    "scripted.pt": (torchscript, "a TorchScript program"),
    "m.pt2": (lambda: zipped(EXPORTED), "an exported program"),
    "package.pt": (lambda: zipped({"m/.data/extern_modules": b"sys", "m/model.pkl": b"1"}), "a torch.package archive"),
    "osnet.onnx": (ONNX, "an ONNX model"),
    "onnx.pth": (ONNX, "an ONNX model"),
    "m.xml": (b'<?xml version="1.0"?>\n<net name="reid" version="11"></net>', "an OpenVINO model"),
    "other.xml": (b'<?xml version="1.0"?>\n<annotation/>', "an XML file"),
    "m.h5": (HDF5, "a Keras file or other HDF5 file"),
    "m.keras": (lambda: zipped({"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": HDF5}), "a Keras"),
    "mars-small128.pb": (b"\n\x0e\n\x06images\x12\x0bPlaceholder" + bytes(90), "a TensorFlow graph"),
    "model.ckpt.data-00000-of-00001": (bytes(range(256)), "a TensorFlow graph"),
    "m.tflite": (b"\x1c\0\0\0TFL3" + bytes(90), "a TensorFlow Lite model"),
    "m.engine": (b"ptrt" + bytes(range(200)), "a TensorRT engine"),
    "yolo.engine": (b'\x20\0\0\0{"description": "reid"}' + bytes(range(200)), "a TensorRT engine"),
    "m.trt": (bytes(range(1, 200)), "a TensorRT engine"),
    "resnet50_market1501.etlt": (b"\x0a\0\0\0input.1" + bytes(range(255)), "an encrypted model of NVIDIA TAO"),
    "m.tlt": (bytes(range(3, 255)), "an encrypted model of NVIDIA TAO"),
    "m.mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(200), "a MATLAB file"),
    "v7.3.mat": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600), "a MATLAB file"),
    "m.param": (b"7767517\n75 83\nInput", "other hardware"),
    "m.rknn": (b"RKNN" + bytes(99), "other hardware"),
    "m.caffemodel": (b"\n\x08ResNet50" + bytes(range(99)), "another framework"),
    "lua.t7": (b"\4\0\0\0\1\0\0\0\3\0\0\0V 1" + bytes(99), "another framework"),
    "m.gguf": (b"GGUF\3\0\0\0" + bytes(99), "another framework"),
    "lfs.pth": (LFS, "git lfs pull"),
    "annex.pth": (b"/annex/objects/SHA256E-s1--abc.pth\n", "git annex get"),
    "page.pth": (b"\n\n <!DOCTYPE html><html><head><title>Google Drive - Quota exceeded", "a web page"),
    "login.pth": (b"<html lang='en'><body>Log in", "a web page"),
    "error.pth": (b'{"error": {"code": 404, "message": "File not found"}}', "a JSON file"),
    "list.json": (b"[1, 2]", "a JSON file"),
    "opts.yaml": (b"lr: 0.1\nstride: 2\n", "a YAML file"),
    "note.pth": ("模型在这里: see the cloud drive\n".encode(), "a text file"),
    "m.7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(90), "unpack it"),
    "m.rar": (b"Rar!\x1a\x07\1\0" + bytes(90), "unpack it"),
    "m.pth.zst": (b"\x28\xb5\x2f\xfd" + bytes(90), "unpack it"),
    "._m.pth": (b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(90), "without '._'"),
    "m.png": (b"\x89PNG\r\n\x1a\n" + bytes(90), "a picture"),
    "old.pth": (lambda: tarred({"sys_info": b"", "pickle": b"", "tensors": b"", "storages": b""}), "before 0.2"),
    "objects.npz": (lambda: arrays()[:0] or savez_objects(), "holds no state dict"),
    "several.zip": (lambda: zipped({"a.pth": checkpoint(), "b.pth": checkpoint()}), "several checkpoints in it (a.pth"),
    "none.zip": (lambda: zipped({"README.md": b"# model"}), "no checkpoint in it (README.md)"),
    "onnx.zip": (lambda: zipped({"m.onnx": ONNX}), "no checkpoint in it (m.onnx)"),
    "none.tar.gz": (lambda: tarred({"a.txt": b"1"}, "w:gz"), "no checkpoint in it (a.txt)"),
    "script.zip": (lambda: zipped({"m.pt": torchscript()}), "m.pt is a TorchScript program"),
    "deep.zip": (lambda: nested(6), "unpack it"),
    "locked.zip": (lambda: locked(), "cannot unpack"),
    "unknown.zip": (lambda: compressed_otherwise(), "cannot unpack"),
    "array.npy": (lambda: saved_array(), "an array of Python objects"),
}  # fmt: skip


def savez_objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, state=np.array([{"a": 1}], dtype=object))
    return file.getvalue()


def saved_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


def nested(depth: int) -> bytes:
    return zipped({"a.zip": nested(depth - 1)}) if depth else zipped({"m.pth": checkpoint()})


def locked() -> bytes:
    """A zip whose only member says that it is encrypted."""
    return _patched(zipped({"m.pth": checkpoint()}), offset=6, value=1)


def compressed_otherwise() -> bytes:
    """A zip whose only member says that it is compressed with AES, which Python does not know."""
    return _patched(zipped({"m.pth": checkpoint()}), offset=8, value=99)


def _patched(data: bytes, offset: int, value: int) -> bytes:
    changed = bytearray(data)
    directory = data.rindex(b"PK\1\2")
    changed[offset] = changed[directory + offset + 2] = value
    return bytes(changed)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("name", OTHERS)
def test_any_other_file_is_named_for_what_it_is(name, outcome, tmp_path):
    content, words = OTHERS[name]
    (tmp_path / name).write_bytes(content() if callable(content) else content)
    refusal = outcome(lambda: models.load_model(tmp_path / name)).refusal
    assert words in refusal
    assert "damaged" not in refusal
    assert name in refusal


def test_weights_of_openvino_point_to_the_xml(outcome, tmp_path):
    (tmp_path / "m.xml").write_text('<?xml version="1.0"?><net name="x"/>')
    (tmp_path / "m.bin").write_bytes(np.linspace(-1, 1, 99, dtype=np.float32).tobytes())
    assert "give the .xml file" in outcome(lambda: models.load_victim(tmp_path / "m.bin")).refusal


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "give the path of a checkpoint in it (none)"),
        ({"a.pth": checkpoint(), "m.onnx": ONNX, "log.txt": b"x", "b/c": b""}, "in it (a.pth, m.onnx)"),
        ({"saved_model.pb": b"\x08\x01\x12", "variables/x": b""}, "a TensorFlow"),
        ({".metadata": b"\x80\x02", "__0_0.distcp": b""}, "a distributed checkpoint"),
    ],
)
def test_folders_say_what_is_in_them(files, words, outcome, tmp_path):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert words in outcome(lambda: models.load_victim(tmp_path)).refusal


CUT = {name: READ[name] for name in ("m.zip", "m.pth.tar", "m.tar.gz", "m.pth.gz", "m.npz", "m.safetensors",
                                     "ckpt.t7", "whole.pth.part", "protocol 0.pkl", "protocol 4.pkl")}  # fmt: skip


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("name", CUT)
def test_a_download_cut_anywhere_is_refused(name, share, outcome, tmp_path):
    for path, words in ((tmp_path / name, ""), (tmp_path / f"{name}.crdownload", "was not finished")):
        path.write_bytes(CUT[name][: int(share * len(CUT[name]))])
        result = outcome(lambda path=path: models.read_checkpoint(path))
        if result.refusal:
            assert words in result.refusal
            assert str(path) in result.refusal
        else:  # only what a tar ends with was lost
            assert ".tar" in name
            assert same(result.value)


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 4, bytes(5000), b"\x80", b"PK\x03\x04", b"\x1f\x8b"])
def test_what_is_of_no_known_kind_is_refused(content, outcome, tmp_path):
    (tmp_path / "m.pth").write_bytes(content)
    assert "download or save it again" in outcome(lambda: models.read_checkpoint(tmp_path / "m.pth")).refusal


def test_each_kind_has_words_and_a_remedy():
    assert not containers.READ.keys() & containers.OTHERS.keys()
    assert {*containers.GRAPHS} < containers.OTHERS.keys()
    for kind in containers.OTHERS.keys() - {"folder"}:
        line = str(containers.refusal("some/file", kind))
        assert line.startswith("some/file is ")
        assert "; " in line
