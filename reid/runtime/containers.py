"""What a file is, by its content: a checkpoint of some format, an archive around one, or something else."""

import bz2
import contextlib
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from reid.errors import CheckpointError, few

LARGEST = 16 * 2**30  # bytes of a checkpoint in an archive, which is unpacked into memory
HEAD = 4096
MOST_FILES = 1000  # of a folder, that are looked at

_ASK = "give the PyTorch checkpoint that it was made from, or export the model to ONNX"
_UNPACK = "unpack it, and give the checkpoint in it"
_AGAIN = "download or save it again"
READ = {  # these are read; of the others below, graphs may become victims
    "torch": "a checkpoint of torch.save",
    "pickle": "a pickle",
    "unpacked": "an unpacked checkpoint",
    "safetensors": "a safetensors file",
    "npy": "a numpy array",
    "npz": "an archive of numpy arrays",
    "archive": "an archive",
}
OTHERS = {  # what it is, and the remedy
    "folder": ("a folder", "give the path of a checkpoint in it"),
    "sharded": (
        "a distributed checkpoint",
        "join it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch",
    ),
    "torchscript": ("a TorchScript program, not a checkpoint", "give the checkpoint that it was made from"),
    "exported": ("an exported program (torch.export), not a checkpoint", _ASK),
    "package": ("a torch.package archive, which holds code", "save the state dict of the model in it alone"),
    "onnx": ("an ONNX model, not a checkpoint", "give the checkpoint that it was made from"),
    "openvino": ("an OpenVINO model, not a checkpoint", "give the checkpoint that it was made from"),
    "openvino weights": ("the weights of an OpenVINO model", "give the .xml file next to it"),
    "keras": ("a Keras file or other HDF5 file", _ASK),
    "tensorflow": ("a TensorFlow graph, SavedModel or checkpoint", _ASK),
    "tflite": ("a TensorFlow Lite model", _ASK),
    "tensorrt": ("a TensorRT engine, bound to the GPU that it was built on", _ASK),
    "tao": ("an encrypted model of NVIDIA TAO, which only its tools can open", "export it to ONNX with them"),
    "mobile": ("a model for a runtime of other hardware (Core ML, ncnn, RKNN, onnxruntime's .ort)", _ASK),
    "foreign": ("a model of another framework (Caffe, Darknet, MXNet, Flax, GGUF, Torch 7)", _ASK),
    "matlab": ("a MATLAB file", "save its arrays as a dict of tensors with torch.save, or as .npz"),
    "old tar": ("a checkpoint of PyTorch before 0.2", "save it again with a later PyTorch, where you trust it"),
    "objects": ("an array of Python objects, not of numbers", "save the numbers alone"),
    "apart": ("the data.pkl of an unpacked checkpoint, whose tensors are next to it", "give the folder of both"),
    "big endian": ("a checkpoint of a big-endian machine", "save it as safetensors there"),
    "packed": ("an archive that Python cannot open (7z, RAR, Zstandard)", _UNPACK),
    "lfs": ("a Git LFS or git-annex pointer, not the file itself", "fetch it with git lfs pull or git annex get"),
    "page": ("a web page, saved in place of the checkpoint", "download the file itself"),
    "xml": ("an XML file", "give the checkpoint that belongs to it"),
    "json": ("a JSON file", "give the checkpoint that belongs to it"),
    "yaml": ("a YAML file", "give the checkpoint that belongs to it"),
    "text": ("a text file", "give the checkpoint that belongs to it"),
    "picture": ("a picture or a document", "give a checkpoint"),
    "resource fork": ("what macOS keeps about a file of the same name without '._'", "give that file"),
    "partial": ("a download that was not finished", "let it finish, or download it again"),
    "empty": ("empty", _AGAIN),
    "unknown": ("of no known kind, or damaged", _AGAIN),
}
GRAPHS = ("torchscript", "exported", "onnx", "openvino")

_STARTS: list[tuple[int, bytes, str]] = [  # offset, what is there, kind
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (257, b"ustar", "archive"),
    (0, b"\x1f\x8b", "archive"),
    (0, b"BZh", "archive"),
    (0, b"\xfd7zXZ\x00", "archive"),
    (0, b"\x93NUMPY", "npy"),
    (0, b"\x89HDF\r\n\x1a\n", "keras"),
    (0, b"MATLAB ", "matlab"),
    (4, b"TFL3", "tflite"),
    (0, b"ptrt", "tensorrt"),
    (0, b"ftrt", "tensorrt"),
    (4, b"ORTM", "mobile"),
    (0, b"RKNN", "mobile"),
    (0, b"7767517\n", "mobile"),
    (0, b"GGUF", "foreign"),
    (0, b"\x04\x00\x00\x00\x01\x00\x00\x00", "foreign"),
    (0, b"7z\xbc\xaf\x27\x1c", "packed"),
    (0, b"Rar!\x1a\x07", "packed"),
    (0, b"\x28\xb5\x2f\xfd", "packed"),
    (0, b"version https://git-lfs", "lfs"),
    (0, b"/annex/objects/", "lfs"),
    (0, b"\x00\x05\x16\x07", "resource fork"),
    (0, b"\xff\xd8\xff", "picture"),
    (0, b"\x89PNG", "picture"),
    (0, b"%PDF", "picture"),
]
_SUFFIXES = {  # of files without a telling start
    ".engine .trt .plan": "tensorrt",
    ".etlt .tlt": "tao",
    ".tflite": "tflite",
    ".pb .index .meta": "tensorflow",
    ".h5 .hdf5 .keras": "keras",
    ".onnx": "onnx",
    ".mlmodel .rknn .ncnn": "mobile",
    ".caffemodel .weights .params .msgpack .gguf .pdmodel": "foreign",
    ".mat": "matlab",
    ".part .crdownload .partial .download .aria2 .filepart .opdownload": "partial",
}
_OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
}


class Member(NamedTuple):
    """A file in an archive; the size is -1 where only unpacking tells it."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def kind_of(path: str | Path) -> str:
    """What the file or folder at `path` is: a key of READ or OTHERS. A file is told by its content before its name.

    Raises CheckpointError where there is nothing, or nothing that may be read.
    """
    path = Path(path)
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint file: {path}; check the path (relative to the current folder)")
    try:
        with open(path, "rb") as file:
            kind = kind_of_file(file, path.name)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    return "openvino weights" if kind == "unknown" and path.with_suffix(".xml").is_file() else kind


def kind_of_file(file: BinaryIO, name: str) -> str:
    """The same for an open file with this name, which is left at its start."""
    head = file.read(HEAD)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    kind = _kind_of_head(head, size, name)
    if kind == "zip":
        try:
            kind = _kind_of_zip(zipfile.ZipFile(file).namelist())
        except Exception:  # on damaged bytes it raises nearly anything
            kind = "torch" if b"data.pkl" in head else "archive"  # cut short, which comes out when it is read
    elif kind == "unknown" and head.strip(b"\0") and tarfile.is_tarfile(file):
        kind = "archive"
    if kind == "archive" and head.startswith(b"ustar", 257):
        with contextlib.suppress(Exception):
            if {each.name for each in members(file, name)} >= {"pickle", "storages", "tensors"}:
                kind = "old tar"
    file.seek(0)
    return kind


def refusal(path: str | Path, kind: str) -> CheckpointError:
    """The error for a file that is healthy, as far as it can be told, but none that is read."""
    if kind == "folder":
        files = sorted(each for each in Path(path).iterdir() if each.is_file())[:MOST_FILES]
        useful = [each.name for each in files if kind_of(each) in (*READ, *GRAPHS)]
        return CheckpointError(f"{path} is a folder; give the path of a checkpoint in it ({few(useful) or 'none'})")
    words, remedy = OTHERS[kind]
    return CheckpointError(f"{path} is {words}; {remedy}")


def is_unfinished(path: str | Path) -> bool:
    """Whether its name is that of a download that goes on or was given up."""
    return _kind_of_name(Path(path).name) == "partial"


def members(file: BinaryIO, name: str) -> list[Member]:
    """The files in an archive: a zip, a tar, or one compressed file. Raises what their modules raise."""
    file.seek(0)
    if file.read(2) == b"PK":  # zipfile itself would find a zip in a tar
        archive = zipfile.ZipFile(file)
        infos = [info for info in archive.infolist() if not info.is_dir()]
        return [Member(info.filename, info.file_size, partial(archive.open, info)) for info in infos]
    file.seek(0)
    try:
        tar = tarfile.open(fileobj=file)  # noqa: SIM115
    except tarfile.ReadError:
        return [Member(Path(name).stem, -1, partial(_opened, file))]
    return [Member(info.name, info.size, partial(_extracted, tar, info)) for info in tar if info.isfile()]


def inside(file: BinaryIO, path: str | Path, name: str) -> tuple[BinaryIO, str]:
    """The one checkpoint in an archive, in memory, and its name there. Raises CheckpointError for none or several."""
    try:
        found = members(file, name)
        seen = [each for each in found if not re.search(r"(^|/)(\.[^/]|__MACOSX/)", each.name)]
        held = [each for each in seen if _sniff(each) in ("zip", *READ)]
        if len(held) == 1 and held[0].size <= LARGEST:
            with held[0].open() as member:
                content = member.read(LARGEST + 1)
            if len(content) <= LARGEST:
                return io.BytesIO(content), held[0].name
    except RuntimeError as error:  # a password, or a compression that Python does not know
        raise CheckpointError(f"{path} is an archive that Python cannot unpack ({error}); {_UNPACK}") from error
    names = few(each.name for each in held or seen)
    what = "several checkpoints" if len(held) > 1 else f"a checkpoint of more than {LARGEST >> 30} GiB"
    raise CheckpointError(f"{path} is an archive with {what if held else 'no checkpoint'} in it ({names}); {_UNPACK}")


def _kind_of_head(head: bytes, size: int, name: str) -> str:
    """Also "zip", for which the head is not enough."""
    if not size:
        return "empty"
    for offset, start, kind in _STARTS:
        if head.startswith(start, offset):
            return "matlab" if kind == "keras" and name.endswith(".mat") else kind
    if re.match(
        rb"\x80[\x01-\x05]|[}\]]q\0|\([dl]p\d|c(copy_?reg|collections|__builtin__|builtins|numpy|torch)[\w.]*\n", head
    ):
        return "pickle"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and (length < size or name.endswith(".safetensors")):
        return "safetensors"
    if re.match(rb"\x08[\x03-\x20][\x12\x1a\x22\x3a\x42]", head):
        return "onnx"
    return _kind_of_text(head, name) or _kind_of_name(name) or "unknown"


def _kind_of_text(head: bytes, name: str) -> str:
    """Empty for what is no text."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<html" in start[:512] or start.startswith((b"<!doctype", b"<head")):
        return "page"
    if start.startswith((b"<?xml", b"<net ")):
        return "openvino" if b"<net " in start else "xml"
    text = head.decode("utf-8", "replace")[: -3 if len(head) == HEAD else None]  # the last letter may be cut in two
    if "\ufffd" in text or not all(letter.isprintable() or letter.isspace() for letter in text):
        return ""
    if re.match(rb'[\[{]\s*["\[{\d\]}]', start):
        return "json"
    return _kind_of_name(name) or ("yaml" if name.lower().endswith((".yaml", ".yml")) else "text")


def _kind_of_name(name: str) -> str:
    if re.search(r"\.data-\d{5}-of-\d{5}$", name):
        return "tensorflow"
    suffix = Path(name).suffix.lower()
    return next((kind for suffixes, kind in _SUFFIXES.items() if suffix and suffix in suffixes.split()), "")


def _kind_of_zip(names: Sequence[str]) -> str:
    ends = {name.partition("/")[2] for name in names}
    if {"constants.pkl", "code/__torch__.py"} & ends or any(end.startswith("code/") for end in ends):
        return "torchscript"
    if any(re.search(r"(^|/)(archive_format|serialized_exported_program\.json|models/\w+\.json)$", n) for n in names):
        return "exported"
    if any(name.endswith("/.data/extern_modules") for name in names):
        return "package"
    if {"model.weights.h5", "config.json"} & {*names} and "metadata.json" in names:
        return "keras"
    if len(roots(names)) == 1:
        return "torch"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "archive"


def roots(names: Sequence[str]) -> list[str]:
    """The folders, each with its slash, in which the names of files have a checkpoint of torch.save."""
    return [name.removesuffix("data.pkl") for name in names if re.search(r"(^|/)data\.pkl$", name)]


def _kind_of_folder(path: Path) -> str:
    for names, kind in (("data.pkl", "unpacked"), ("*/data.pkl", "unpacked"), ("saved_model.pb", "tensorflow")):
        if len([*path.glob(names)]) == 1:
            return kind
    return "sharded" if (path / ".metadata").is_file() else "folder"


def _sniff(member: Member) -> str:
    with member.open() as file:
        head = file.read(HEAD)
    return _kind_of_head(head, max(member.size, len(head)), member.name.rpartition("/")[2])


def _opened(file: BinaryIO) -> IO[bytes]:
    file.seek(0)
    opener = _OPENERS[file.read(2)]
    file.seek(0)
    return opener(file)


def _extracted(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Any:
    return tar.extractfile(info)
