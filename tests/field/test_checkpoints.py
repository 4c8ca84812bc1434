"""Checkpoints as people have them: what lies beside the weights, around them, and in front of their names."""

import argparse
import collections
import contextlib
import datetime
import enum
import fractions
import functools
import importlib
import io
import os
import pathlib
import pickle
import random
import sys
import time
import types
import uuid
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from reid import attacks, models
from reid.attacks import Threat
from reid.models.checkpoint import Checkpoint
from reid.runtime.pickles import StandIn
from reid.runtime.registry import load_plugin
from reid.runtime.torchfiles import read_torch

TOY = Path(__file__).parent.parent / "plugins" / "toy_family.py"
WEIGHT, BIAS = "toy_conv.weight", "toy_conv.bias"


@pytest.fixture(autouse=True)
def toy_family():
    load_plugin(TOY)


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """The state dict of a network that the toy family knows."""
    generator = torch.Generator().manual_seed(seed)
    return {WEIGHT: torch.randn(6, 3, 5, 5, generator=generator), BIAS: torch.randn(6, generator=generator)}


def same(state, other) -> bool:
    return state.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in state.items())


def named(prefix, state=None, rest=()):
    return {f"{prefix}{key}": value for key, value in (state or weights()).items()} | dict(rest)


def optimizer():
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    adam = torch.optim.Adam([parameter])
    adam.step()
    return adam.state_dict()


# Numbers and objects


class Stage(enum.Enum):
    TRAIN = 1


class Config(dict):
    """A dict with attributes, as yacs and others have them."""

    def __init__(self, *args, **options):
        super().__init__(*args)
        self.__dict__.update(options)


class Metadata(collections.OrderedDict):
    pass


class Slotted:
    __slots__ = ("value",)

    def __init__(self):
        self.value = 3


class Rows(list):
    pass


NUMBERS = [
    *(kind(1) for kind in (np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_, np.complex128)),
    np.str_("market1501"),
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.array(["a", "bc"]),
    np.zeros((0, 3)),
    complex(1, 2),
    b"bytes",
    {1, 2},
    frozenset({3}),
    bytearray(b"xyz"),
    collections.Counter("aab"),
    collections.defaultdict(list, {"mAP": [0.1, 0.2]}),
    collections.OrderedDict(a=1),
    torch.Size([2, 3]),
]


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: f"{type(value).__name__}-{value}"[:30])
def test_numbers_beside_the_weights_are_read(value, protocol, tmp_path):
    torch.save({"state_dict": weights(), "value": value}, tmp_path / "c.pth", pickle_protocol=protocol)
    found = Checkpoint.read(tmp_path / "c.pth")
    assert same(found.state, weights())
    assert found.skipped == []
    np.testing.assert_array_equal(found.content["value"], value)
    if isinstance(value, np.ndarray):
        assert found.content["value"].dtype == value.dtype


def test_numbers_of_the_other_numpy_are_read(tmp_path):
    """Files name numpy.core or numpy._core, by the numpy that wrote them."""
    content = pickle.dumps({**weights_as_arrays(), "best": np.float64(0.5), "cmc": np.ones(3)}, protocol=2)
    names = [b"numpy._core.multiarray", b"numpy.core.multiarray"]
    for name, other in (names, names[::-1]):
        (tmp_path / "c.pkl").write_bytes(content.replace(name, other))
        found = Checkpoint.read(tmp_path / "c.pkl")
        assert found.content["best"] == 0.5
        assert same({key: found.state[key] for key in weights()}, weights())


def weights_as_arrays():
    return {key: value.numpy() for key, value in weights().items()}


OBJECTS = {
    "args (argparse.Namespace)": argparse.Namespace(lr=0.1, root=Path("/data")),
    "folder (pathlib.PosixPath)": pathlib.PosixPath("/data"),
    "day (datetime.datetime)": datetime.datetime(2020, 1, 1),
    "cfg (test_checkpoints.Config)": Config({"MODEL": Config({"NAME": "resnet50"})}, frozen=True),
    "meta (test_checkpoints.Metadata)": Metadata(version=1),
    "stage (test_checkpoints.Stage)": Stage.TRAIN,
    "half (fractions.Fraction)": fractions.Fraction(1, 2),
    "id (uuid.UUID)": uuid.UUID(int=3),
    "rows (test_checkpoints.Rows)": Rows([1, 2]),
    "slotted (test_checkpoints.Slotted)": Slotted(),
    "kind (torch.optim.adam.Adam)": torch.optim.Adam,
    "loss (torch.nn.functional.relu)": nn.functional.relu,
    "dtype (torch.float16)": torch.float16,
    "where (torch.device)": torch.device("cpu"),
    "objects (numpy._core.multiarray._reconstruct)": np.array([{"a": 1}, None], dtype=object),
    "draw (functools.partial)": functools.partial(print, 1),
    "queue (collections.deque)": collections.deque([1, 2]),
    "space (types.SimpleNamespace)": types.SimpleNamespace(a=1),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "torch 1.3"])
@pytest.mark.parametrize("skipped", OBJECTS)
def test_objects_beside_the_weights_are_skipped_by_name(skipped, legacy, outcome, tmp_path):
    name = skipped.partition(" ")[0]
    content = {"state_dict": weights(), name: OBJECTS[skipped], "epoch": 3}
    torch.save(content, tmp_path / "c.pth", _use_new_zipfile_serialization=not legacy)
    result = outcome(lambda: Checkpoint.read(tmp_path / "c.pth"))
    assert result.value.skipped == [skipped.replace("test_checkpoints", __name__)]
    assert f"skipped: {name}" in result.counted
    assert result.value.content["epoch"] == 3
    assert same(result.value.state, weights())


def test_the_report_of_a_model_says_what_was_skipped(tmp_path):
    model = models.create("resnet10", 2, seed=0)
    torch.save({"model": model.state_dict(), "args": argparse.Namespace()}, tmp_path / "c.pth")
    for report in (models.load_model(tmp_path / "c.pth")[1], models.load_checkpoint(model, tmp_path / "c.pth")):
        assert report.skipped == ["args (argparse.Namespace)"]
        assert "under 'model'" in report.summary()
        assert "1 skipped (args (argparse.Namespace))" in report.summary()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "torch 1.3"])
def test_weights_of_another_precision_are_float32(dtype, legacy, tmp_path):
    state = {key: value.to(dtype) for key, value in weights().items()} | {"n.num_batches_tracked": torch.tensor(5)}
    torch.save(state, tmp_path / "c.pth", _use_new_zipfile_serialization=not legacy)
    found = Checkpoint.read(tmp_path / "c.pth").state
    assert same(found, {key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    assert found["n.num_batches_tracked"].dtype == torch.int64


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_integers_in_place_of_weights_are_refused(outcome, tmp_path):
    torch.save({WEIGHT: weights()[WEIGHT].to(torch.int8), BIAS: weights()[BIAS]}, tmp_path / "c.pth")
    assert (
        "integers in place of weights (toy_conv.weight)"
        in outcome(lambda: models.load_victim(tmp_path / "c.pth")).refusal
    )
    quantised = torch.quantize_per_tensor(weights()[WEIGHT], 0.1, 0, torch.qint8)
    for special in (quantised, torch.eye(3).to_sparse()):
        torch.save({WEIGHT: special, BIAS: weights()[BIAS]}, tmp_path / "c.pth")
        assert (
            "quantised or sparse weights (toy_conv.weight)"
            in outcome(lambda: models.load_victim(tmp_path / "c.pth")).refusal
        )


class Pickler2(pickle._Pickler):
    """Pickles texts and bytes alike as Python 2 pickled its str."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_str(self, value):
        raw = value if isinstance(value, bytes) else value.encode()
        self.write(b"U" + bytes([len(raw)]) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_str


python2 = types.SimpleNamespace(
    Pickler=Pickler2, dump=lambda value, file, protocol=2: Pickler2(file, protocol).dump(value), __name__="pickle"
)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "torch 0.4"])
@pytest.mark.parametrize("extra", [None, np.float64(0.873), np.array([0.873, 0.91]), argparse.Namespace(lr=1)])
def test_files_of_python_2(extra, legacy, tmp_path):
    options = {"pickle_module": python2, "pickle_protocol": 2, "_use_new_zipfile_serialization": not legacy}
    torch.save({"state_dict": weights(), "extra": extra}, tmp_path / "c.pth.tar", **options)
    found = Checkpoint.read(tmp_path / "c.pth.tar")
    assert same(found.state, weights())
    if not isinstance(extra, argparse.Namespace):
        np.testing.assert_array_equal(found.content["extra"], extra)


def test_names_that_stayed_bytes(tmp_path):
    torch.save({b"state_dict": {key.encode(): value for key, value in weights().items()}, b"epoch": 3}, tmp_path / "c")
    found = Checkpoint.read(tmp_path / "c")
    assert same(found.state, weights())
    assert found.content == {"epoch": 3}


# Whole networks


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.toy_conv = nn.Conv2d(3, 6, 5)
        self.register_buffer("passing", torch.zeros(2), persistent=False)
        self.load_state_dict(weights())


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.DataParallel(Toy())


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "torch 1.3"])
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"model": net, "epoch": 3}, lambda net: (3, net)])
@pytest.mark.parametrize("network", [Toy, Wrapped])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source")
def test_a_whole_pickled_network_gives_its_tensors(network, wrap, legacy, tmp_path):
    torch.save(wrap(network()), tmp_path / "c.pth", _use_new_zipfile_serialization=not legacy)
    found = Checkpoint.read(tmp_path / "c.pth")
    assert same(found.state, weights())
    assert f"of a pickled {network.__name__}" in found.found
    assert found.skipped == []


# Envelopes and prefixes

STATE = ("state_dict", "model", "net", "network", "weights", "params", "model_state_dict", "model_state", "net_dict")
LIGHTNING = {"epoch": 3, "pytorch-lightning_version": "2.0.0", "callbacks": {"x": {"best": torch.tensor(0.5)}}}
ENVELOPES = {
    **{f"under {name}": {name: weights(), "optimizer": optimizer(), "epoch": 1} for name in STATE},
    "ema alone": {"ema": {"shadow": weights(), "decay": 0.9}},
    "teacher": {"teacher": weights(), "student": weights(1)},
    "teacher last": {"student": weights(1), "teacher": weights()},
    "encoder": {"encoder": weights(), "decoder": {"x.weight": torch.ones(2)}},
    "model before ema": {"ema": weights(1), "model": weights()},
    "nested": {"checkpoint": {"model": {"state_dict": weights()}, "optimizer": optimizer()}},
    "in a tuple": (3, weights()),
    "bare with numbers": {**weights(), "epoch": 3, "lr": 0.1},
    "unknown key": {"my_precious": weights(), "history": [0.1, 0.2]},
    "unknown keys, one that fits": {"netG": {"up.weight": torch.ones(2)}, "netE": weights()},
    "criterion": {"state_dict": weights(), "criterion": {"centers": torch.ones(3, 4)}, "rng": torch.ones(5)},
    "twice parallel": named("module.module."),
    "compiled": named("_orig_mod.module."),
    "compiled inside": {"state_dict": named("model._orig_mod.")},
    "Lightning": LIGHTNING | {"state_dict": named("model."), "optimizer_states": [optimizer()]},
    "Lightning with losses": LIGHTNING
    | {"state_dict": named("net.", rest={"center_loss.centers": torch.ones(2), "criterion_t.margin": torch.ones(1)})},
    "prefixes in any order": {"state_dict": named("backbone.module.model.net.")},
    "teacher with backbone": {"student": named("module.backbone.", weights(1)), "teacher": named("backbone.")},
    "both in one": named("teacher.") | named("student.", weights(1)),
    "ordered": collections.OrderedDict(state_dict=Metadata(weights())),
    "parameters": {"state_dict": {key: nn.Parameter(value) for key, value in weights().items()}},
    "views": {"net": {key: torch.stack([value, value], -1)[..., 1] for key, value in weights().items()}},
    "arrays": {"params": weights_as_arrays()},
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "torch 1.3"])
@pytest.mark.parametrize("name", ENVELOPES)
def test_the_weights_are_found_in_any_envelope(name, legacy, outcome, tmp_path):
    torch.save(ENVELOPES[name], tmp_path / "c.pth", _use_new_zipfile_serialization=not legacy)
    result = outcome(lambda: Checkpoint.read(tmp_path / "c.pth"))
    assert same({key: result.value.state[key] for key in weights()}, weights()), result
    assert models.load_victim(tmp_path / "c.pth").arch == "toy"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("teacher", "under 'teacher'; not those under 'student'"),
        ("unknown key", "under 'my_precious'"),
        ("model before ema", "under 'model'; not those under 'ema'"),
        ("prefixes in any order", "under 'state_dict', without 'backbone.', without 'model.', without 'net.'"),
        ("both in one", "without 'teacher.'; not those without 'student.'"),
    ],
)
def test_what_was_taken_is_said(name, words, outcome, tmp_path):
    torch.save(ENVELOPES[name], tmp_path / "c.pth")
    assert words in outcome(lambda: Checkpoint.read(tmp_path / "c.pth")).counted


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": weights(), "net": weights(1)}, "several sets of weights (under 'model', under 'net')"),
        ({"model_1": weights(), "model_2": weights(1)}, "several sets of weights (under 'model_1', under 'model_2')"),
        (named("model.") | named("net."), "several sets of weights (without 'model.', without 'net.')"),
        ({"a": {"x.weight": torch.ones(1)}, "b": {"y.weight": torch.ones(1)}}, "several sets"),
        ({"optimizer": optimizer()}, "holds no state dict"),
        ({"epoch": 1, "settings": {}, "best": 0.5, "network": named("model.")}, "give the model_best.pth next to it"),
        ({"state_dict": {}}, "holds no state dict"),
        ([torch.ones(2)], "holds no state dict"),
        ({1: torch.ones(2)}, "holds no state dict"),
        (argparse.Namespace(model=3), "holds no state dict"),
        (None, "holds no state dict"),
        (named("backbone.") | {"head.weight": torch.ones(2)}, "no re-ID model of a known layout"),
        (named("toy."), "no re-ID model of a known layout"),
        ({"submodule." + key: value for key, value in weights().items()}, "no re-ID model of a known layout"),
        ({f"{'k' * 400}\n{i}": torch.ones(1) for i in range(9)}, "no re-ID model of a known layout"),
    ],
)
def test_what_is_not_certain_is_refused(content, words, outcome, tmp_path):
    torch.save(content, tmp_path / "c.pth")
    assert words in outcome(lambda: models.load_victim(tmp_path / "c.pth")).refusal


def resnet_keys(prefix="", *others):
    blocks = [f"layer{s}.{b}.conv{c}.weight" for s, n in zip((1, 2, 3, 4), (3, 4, 6, 3), strict=True)
              for b in range(n) for c in (1, 2, 3)]  # fmt: skip
    return {prefix + key: torch.ones(1) for key in ("conv1.weight", "bn1.weight", *blocks)} | {
        key: torch.ones(751, 2) for key in others
    }


@pytest.mark.parametrize(
    "state",
    [
        resnet_keys("base.", "bottleneck.weight", "classifier.weight"),
        resnet_keys("", "classifier.weight"),
        resnet_keys("", "fc.weight"),
        resnet_keys("model.base.", "model.bottleneck.weight", "model.base.feature.weight"),
        resnet_keys("backbone.", "heads.weight", "heads.bottleneck.0.weight"),
    ],
    ids=["strong baseline", "torchreid", "other classes", "TAO", "fast-reid"],
)
def test_resnets_of_other_projects_are_neither_damaged_nor_of_imagenet(state, outcome, tmp_path):
    torch.save(state, tmp_path / "c.pth")
    refusal = outcome(lambda: models.load_model(tmp_path / "c.pth")).refusal
    assert refusal
    assert not any(word in refusal for word in ("damaged", "not whole", "again", "ImageNet backbone"))


# Attacker files, by the same way

DELTA = torch.full((1, 3, 8, 4), 4 / 255)
BOTH = {"layer_00.xform.xform_params": torch.zeros(1, 25, 25, 25, 3), "layer_01.delta": DELTA}
ATTACKERS = {
    "bare with numbers": {"delta": DELTA, "epoch": np.int64(3), "args": argparse.Namespace(eps=8)},
    "parallel": {"state_dict": {"module.delta": DELTA}},
    "under model": {"model": {"delta": DELTA}, "optimizer": optimizer()},
    "nested": {"net": {"state_dict": {"model.module.delta": DELTA}}},
    "half": {"delta": DELTA.half()},
    "a parameter": {"delta": nn.Parameter(DELTA)},
    "both kinds": {"attacker": named("net.", BOTH), "threat": Threat(1 / 255, 4 / 255, "gallery").to_dict()},
    "an array": {"state_dict": {"delta": DELTA.numpy()}},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ATTACKERS)
def test_attackers_are_found_in_any_envelope(name, packed, tmp_path):
    path = tmp_path / "noise.pth"
    torch.save(ATTACKERS[name], path)
    if packed:
        with zipfile.ZipFile(tmp_path / "noise.zip", "w") as archive:
            archive.write(path, "x/noise.pth")
    noise = attacks.load(tmp_path / "noise.zip" if packed else path)
    (delta,) = [value for key, value in noise.state_dict().items() if key.endswith("delta")]
    torch.testing.assert_close(delta, DELTA, rtol=0, atol=1e-4 if name == "half" else 1e-7)
    assert noise.threat.side == ("gallery" if name == "both kinds" else "query")


# Files that would run code


class Call:
    """Unpickled without care, it calls `function`."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


def touching(tmp_path):
    """Ways to make a file in `tmp_path`; each does when unpickled without care."""
    marker = str(tmp_path / "ran")
    code = f"open({marker!r}, 'w').close()"
    (tmp_path / "hubconf.py").write_text(f"{code}\ndependencies = []\ndef m(): return 1\n")
    (tmp_path / "imported_by_a_pickle.py").write_text(f"{code}\nX = 1\n")
    evil = tmp_path / "evil.pkl"
    evil.write_bytes(pickle.dumps(Call(os.mkdir, marker)))
    torch.save(Call(os.mkdir, marker), tmp_path / "evil.pth")
    np.save(tmp_path / "evil.npy", np.array([Call(os.mkdir, marker)]), allow_pickle=True)
    local = functools.partial(torch.hub.load, str(tmp_path), "m", source="local", trust_repo=True)
    return {
        "system": Call(os.system, f"touch {marker}"),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "mkdir": Call(os.mkdir, marker),
        "getattr chain": Call(Path(marker).touch),
        "partial": Call(functools.partial(os.mkdir, marker)),
        "partial in partial": Call(functools.partial(functools.partial(os.mkdir), marker)),
        "import": Call(importlib.import_module, "imported_by_a_pickle"),
        "torch.load": Call(functools.partial(torch.load, str(tmp_path / "evil.pth"), weights_only=False)),
        "torch.hub": Call(local),
        "torch.storage": Call(torch.storage._load_from_bytes, saved(Call(os.mkdir, marker))),
        "numpy.load": Call(np.load, str(tmp_path / "evil.npy"), None, True),
        "pickle.loads": Call(pickle.loads, evil.read_bytes()),
        "rebuild of any type": Call(torch._tensor._rebuild_from_type_v2, os.mkdir, int, (marker,), {}),
        "class": Call(FileMaker, marker),
        "state": Call(FileMaker, state=marker),
        "key of a dict": {Call(os.mkdir, marker): 1},
        "in a list": [Call(os.mkdir, marker)],
    }


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


class FileMaker:
    def __new__(cls, path=None):
        if path:
            Path(path).touch()
        return super().__new__(cls)

    def __setstate__(self, state):
        Path(state).touch()


WAYS = ("system", "eval", "exec", "mkdir", "getattr chain", "partial", "partial in partial", "import", "torch.load",
        "torch.hub", "torch.storage", "numpy.load", "pickle.loads", "rebuild of any type", "class", "state",
        "key of a dict", "in a list")  # fmt: skip


@pytest.mark.parametrize("form", ["zip", "torch 1.3", "pickle"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_in_a_file_is_run(way, form, outcome, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    payload = touching(tmp_path)[way]
    path, marker = tmp_path / "c.pth", tmp_path / "ran"
    content = {"state_dict": weights(), "best": payload}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": weights_as_arrays(), "best": payload}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    before = {*sys.modules}, {**vars(StandIn)}
    result = outcome(lambda: Checkpoint.read(path))
    assert not marker.exists()
    assert ({*sys.modules}, {**vars(StandIn)}) == before
    assert result.refusal or same(result.value.state, weights())
    if form == "pickle":
        with contextlib.suppress(Exception):
            pickle.loads(path.read_bytes())
        assert marker.exists(), "the payload of this test is dead"
        sys.modules.pop("imported_by_a_pickle", None)


RAW = {  # pickles written by hand; . ends each
    "INST": b"(S'touch ran'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch ran'\no.",
    "GLOBAL of a module to import": b"cimported_by_a_pickle\nX\n.",
    "EXT of an extension": b"\x80\x02\x82\x01.",
    "BUILD on a class": b"\x80\x02cos\nsystem\n}U\x06originU\x01xsb.",
    "BUILD with slots on a class": b"\x80\x02cos\nsystem\nN}U\x06originU\x01xs\x86b.",
    "BUILD on an OrderedDict": b"\x80\x02ccollections\nOrderedDict\n)R}U\x05itemsU\x01xsb.",
    "APPENDS to a class": b"\x80\x02cos\nsystem\n(K\x01K\x02e.",
    "SETITEMS of a class": b"\x80\x02cos\nsystem\n(K\x01K\x02u.",
    "NEWOBJ of an instance": b"\x80\x02cos\nsystem\n)R)\x81.",
    "call of an instance": b"\x80\x02cos\nsystem\n)R(U\x09touch rantR.",
    "persistent text": b"Ptouch ran\n.",
    "persistent module": b"\x80\x02(U\x06modulecos\nsystem\nU\x01xU\x01ytQ.",
    "persistent storage": b"\x80\x02(U\x07storagecos\nsystem\nU\x010U\x03cpuK\x01tQ.",
    "storage with a path as its key": b"\x80\x02(U\x07storagectorch\nFloatStorage\nU\x0d../../etc/hosU\x03cpuK\x01tQ.",
    "a name with a NUL": b"\x80\x04\x8c\x02o\x00\x8c\x01x\x93.",
    "odd dtype": b"\x80\x02cnumpy\ndtype\nU\x04O8,VK\x00K\x01\x87R.",
    "huge bytearray": b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x7f\x85R.",
    "dtype in place of a shape": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00NNtR.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "nothing on the stack": b"\x80\x02R.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "no end": b"\x80\x02}U\x01a",
    "deep": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
}


@pytest.mark.parametrize("name", RAW)
def test_pickles_by_hand_leave_no_trace(name, outcome, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "imported_by_a_pickle.py").write_text("import pathlib; pathlib.Path('ran').touch(); X = 1")
    (tmp_path / "c.pkl").write_bytes(RAW[name])
    before = {*sys.modules}, {**vars(StandIn)}
    assert outcome(lambda: models.read_checkpoint(tmp_path / "c.pkl")).refusal
    assert ({*sys.modules}, {**vars(StandIn)}) == before
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "args",
    [
        lambda storage: (storage, 0, (10**12,), (1,), False, {}),
        lambda storage: (storage, -1, (2,), (1,), False, {}),
        lambda storage: (storage, 0, (2,), (-1,), False, {}),
        lambda storage: (storage, 0, "ab", (1,), False, {}),
        lambda storage: (storage, 5, (2, 2), (2, 1), False, {}),
        lambda storage: (storage,),
        lambda storage: ([1, 2], 0, (2,), (1,), False, {}),
    ],
)
def test_tensors_beyond_their_storage_are_refused(args, outcome, tmp_path):
    storage = torch.arange(4.0)._typed_storage()
    torch.save({"x": Call(torch._utils._rebuild_tensor_v2, *args(storage))}, tmp_path / "c.pth")
    assert outcome(lambda: models.read_checkpoint(tmp_path / "c.pth")).refusal


def test_many_tensors_take_linear_time(tmp_path):
    def seconds(count):
        torch.save({f"w{i}": torch.ones(1) for i in range(count)} | {"args": Config(a=1)}, tmp_path / "c.pth")
        start = time.process_time()
        assert len(models.read_checkpoint(tmp_path / "c.pth")) == count
        return time.process_time() - start

    seconds(100)
    assert seconds(4000) < 20 * seconds(1000) + 1


def test_tensors_that_share_memory_share_it_still(tmp_path):
    base = torch.arange(6.0)
    torch.save({"a": base, "b": base[2:4], "c": base.view(2, 3).t()}, tmp_path / "c.pth")
    found = read_torch(tmp_path / "c.pth")
    assert found["b"].tolist() == [2, 3]
    assert found["c"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert len({value.untyped_storage().data_ptr() for value in found.values()}) == 1


@pytest.mark.parametrize("seed", range(10))
def test_random_damage_is_refused_in_one_line_or_harmless(seed, outcome, tmp_path):
    draw = random.Random(seed)
    torch.save({"state_dict": weights(), "args": argparse.Namespace(a=1), "best": np.float64(1)}, tmp_path / "c.pth",
               _use_new_zipfile_serialization=bool(seed % 2))  # fmt: skip
    data = bytearray((tmp_path / "c.pth").read_bytes())
    for _ in range(20):
        data[draw.randrange(len(data))] = draw.randrange(256)
    (tmp_path / "c.pth").write_bytes(data)
    outcome(lambda: models.read_checkpoint(tmp_path / "c.pth"))
