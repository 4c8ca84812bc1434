"""The interpreter of OpenVINO's layers: each against torch, and against openvino where that is installed."""

import importlib.util
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from reid import CheckpointError
from reid.models.graphs.layers import LAYERS, Interpreter, UnknownLayerError
from reid.models.sources import open_model

SIZE = (6, 4)
RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)
GROUPED = RANDOM.standard_normal((3, 2, 1, 3, 3)).astype(np.float32)
MATRIX = RANDOM.standard_normal((5, 4)).astype(np.float32)
SLOPES = np.array([0.1, 0.2, 0.3], dtype=np.float32)
PLANES = np.array([1.5, -2.0, 0.5], dtype=np.float32).reshape(1, 3, 1, 1)
WINDOW = {"strides": "2,1", "pads_begin": "1,1", "pads_end": "1,1"}
CONVOLUTION = WINDOW | {"dilations": "1,1", "auto_pad": "explicit"}
POOL = WINDOW | {"kernel": "3,3", "auto_pad": "explicit"}
DEVIATION = {"eps": "0.001", "normalize_variance": "true", "eps_mode": "inside_sqrt"}


def ints(*values):
    return np.array(values, dtype=np.int64)


def normalised(images):
    return F.layer_norm(images, images.shape[2:], eps=0.001)


ALONE = {  # name: opset, settings, constants after the images, what torch gives; the kind is the name up to a space
    "Add": (1, {}, [PLANES], lambda x: x + torch.from_numpy(PLANES)),
    "Subtract": (1, {}, [PLANES], lambda x: x - torch.from_numpy(PLANES)),
    "Multiply": (1, {}, [PLANES.astype(np.float16)], lambda x: x * torch.from_numpy(PLANES)),
    "Divide": (1, {}, [PLANES], lambda x: x / torch.from_numpy(PLANES)),
    "Convolution": (1, CONVOLUTION, [WEIGHT], lambda x: F.conv2d(x, torch.from_numpy(WEIGHT), None, (2, 1), 1)),
    "Convolution uneven": (
        *(1, CONVOLUTION | {"pads_begin": "0,1", "pads_end": "1,2"}, [WEIGHT]),
        lambda x: F.conv2d(F.pad(x, (1, 2, 0, 1)), torch.from_numpy(WEIGHT), None, (2, 1)),
    ),
    "Convolution valid": (
        *(1, CONVOLUTION | {"auto_pad": "valid"}, [WEIGHT]),
        lambda x: F.conv2d(x, torch.from_numpy(WEIGHT), None, (2, 1)),
    ),
    "GroupConvolution": (
        *(1, CONVOLUTION, [GROUPED]),
        lambda x: F.conv2d(x, torch.from_numpy(GROUPED).flatten(0, 1), None, (2, 1), 1, groups=3),
    ),
    "MaxPool": (1, POOL | {"rounding_type": "floor"}, [], lambda x: F.max_pool2d(x, 3, (2, 1), 1)),
    "MaxPool ceil": (1, POOL | {"rounding_type": "ceil"}, [], lambda x: F.max_pool2d(x, 3, (2, 1), 1, ceil_mode=True)),
    "AvgPool": (
        *(1, POOL | {"rounding_type": "floor", "exclude-pad": "true"}, []),
        lambda x: F.avg_pool2d(x, 3, (2, 1), 1, count_include_pad=False),
    ),
    "AvgPool border": (
        *(1, POOL | {"rounding_type": "floor", "exclude-pad": "false"}, []),
        lambda x: F.avg_pool2d(x, 3, (2, 1), 1),
    ),
    "MVN": (6, DEVIATION, [ints(2, 3)], normalised),
    "MVN of old": (2, {"eps": "0.001", "normalize_variance": "true", "across_channels": "false"}, [], normalised),
    "MVN outside": (
        *(6, DEVIATION | {"eps_mode": "outside_sqrt"}, [ints(2, 3)]),
        lambda x: (x - x.mean((2, 3), True)) / (x.var((2, 3), correction=0, keepdim=True).sqrt() + 0.001),
    ),
    "MVN mean": (6, DEVIATION | {"normalize_variance": "false"}, [ints(2, 3)], lambda x: x - x.mean((2, 3), True)),
    "MatMul": (1, {"transpose_a": "false", "transpose_b": "true"}, [MATRIX], lambda x: x @ torch.from_numpy(MATRIX).T),
    "PReLU": (1, {}, [SLOPES], lambda x: F.prelu(x, torch.from_numpy(SLOPES))),
    "ReLU": (1, {}, [], F.relu),
    "Sigmoid": (1, {}, [], torch.sigmoid),
    "ReduceMean": (1, {"keep_dims": "true"}, [ints(2, 3)], lambda x: x.mean((2, 3), True)),
    "ReduceMean flat": (1, {"keep_dims": "false"}, [ints(2, 3)], lambda x: x.mean((2, 3))),
    "Reshape": (1, {"special_zero": "true"}, [ints(0, -1)], lambda x: x.flatten(1)),
    "Reshape plain": (1, {"special_zero": "false"}, [ints(-1, 12)], lambda x: x.reshape(-1, 12)),
    "Transpose": (1, {}, [ints(0, 2, 3, 1)], lambda x: x.permute(0, 2, 3, 1)),
    "Unsqueeze": (1, {}, [ints(4, 1)], lambda x: x.unsqueeze(1).unsqueeze(4)),
    "Gather": (8, {"batch_dims": "0"}, [ints(2, 1, 0), ints(1)], lambda x: x.flip(1)),
}  # fmt: skip


class File:
    """An .xml and its .bin, written layer by layer; each is (layer, port)."""

    def __init__(self):
        self.net = ET.Element("net", name="drawn", version="11")
        self.layers, self.edges = ET.SubElement(self.net, "layers"), ET.SubElement(self.net, "edges")
        self.weights = b""

    def add(self, kind, settings, inputs=(), opset=1, outputs=("FP32",)):
        place = str(len(self.layers))
        layer = ET.SubElement(self.layers, "layer", id=place, name=f"l{place}", type=kind, version=f"opset{opset}")
        ET.SubElement(layer, "data", settings)
        ports = [(ET.SubElement(layer, "input"), {}) for _ in inputs[:1]]
        for port, (source, source_port) in enumerate(inputs):
            ET.SubElement(ports[0][0], "port", id=str(port))
            edge = {"from-layer": source, "from-port": source_port, "to-layer": place, "to-port": str(port)}
            ET.SubElement(self.edges, "edge", edge)
        if outputs:
            given = ET.SubElement(layer, "output")
            for port, precision in enumerate(outputs, len(inputs)):
                element = ET.SubElement(given, "port", id=str(port), precision=precision)
                for side in settings.get("shape", "").split(",") if kind in ("Parameter", "Const") else ():
                    if side:
                        ET.SubElement(element, "dim").text = side.strip().replace("?", "-1")
        return [(place, str(port)) for port in range(len(inputs), len(inputs) + len(outputs))]

    def images(self, batch="?"):
        return self.add("Parameter", {"shape": f"{batch},3,{SIZE[0]},{SIZE[1]}", "element_type": "f32"})[0]

    def constant(self, array):
        kind = {"float32": "f32", "float16": "f16", "int64": "i64"}[str(array.dtype)]
        start, size = str(len(self.weights)), str(array.nbytes)
        self.weights += array.tobytes()
        settings = {"element_type": kind, "shape": ",".join(map(str, array.shape)), "offset": start, "size": size}
        return self.add("Const", settings, outputs=[{"f32": "FP32", "f16": "FP16", "i64": "I64"}[kind]])[0]

    def converted(self, source):
        """In openvino both sides of a sum have one type."""
        return self.add("Convert", {"destination_type": "f32"}, [source])[0]

    def end(self, source):
        self.add("Result", {}, [source], outputs=())
        return self

    def write(self, path):
        path.write_bytes(ET.tostring(self.net, xml_declaration=True))
        path.with_suffix(".bin").write_bytes(self.weights)
        return path


def alone(name):
    opset, settings, constants, _ = ALONE[name]
    file = File()
    inputs = [file.images()]
    for array in constants:
        constant = file.constant(array)
        inputs.append(file.converted(constant) if array.dtype == np.float16 else constant)
    return file.end(file.add(name.split()[0], settings, inputs, opset)[0])


def composed():
    """The rest: features of the mean of each channel, around what Intel's network does with shapes."""
    file = File()
    images = file.images()
    axis = file.constant(np.array(1, dtype=np.int64))
    blue, green, red = file.add("Split", {"num_splits": "3"}, [images, axis], outputs=["FP32"] * 3)
    mixed = file.add("Concat", {"axis": "1"}, [red, green, blue, red])[0]
    shape = file.add("ShapeOf", {"output_type": "i64"}, [mixed], 3, outputs=["I64"])[0]
    two, one, zero = (file.constant(np.array(value, dtype=np.int64)) for value in (2, 1, 0))
    rank = file.add("ShapeOf", {"output_type": "i64"}, [shape], 3, outputs=["I64"])[0]
    single = file.add("Squeeze", {}, [rank, file.constant(ints(0))], outputs=["I64"])[0]
    axes = file.add("Range", {"output_type": "i64"}, [two, single, one], 4, outputs=["I64"])[0]
    means = file.add("ReduceMean", {"keep_dims": "true"}, [mixed, axes])[0]
    count = file.add("Gather", {"batch_dims": "0"}, [shape, file.constant(ints(0)), zero], 8, outputs=["I64"])[0]
    target = file.add("Concat", {"axis": "0"}, [count, file.constant(ints(-1))], outputs=["I64"])[0]
    return file.end(file.add("Reshape", {"special_zero": "false"}, [means, target])[0])


def composed_in_torch(images):
    return images[:, [2, 1, 0, 2]].mean((2, 3))


def run(file, images):
    (output,) = Interpreter(file.net, file.weights)(images)
    return output


@pytest.fixture
def drawn():
    return torch.randn(5, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def test_all_layers_are_tested():
    kinds = {name.split()[0] for name in ALONE} | {layer.get("type") for layer in composed().net.iter("layer")}
    assert kinds | {"Convert"} >= set(LAYERS)


@pytest.mark.parametrize("name", ALONE)
def test_a_layer_does_what_torch_does(name, drawn):
    drawn.requires_grad_()
    output = run(alone(name), drawn)
    torch.testing.assert_close(output, ALONE[name][3](drawn), rtol=1e-5, atol=1e-5)
    assert torch.autograd.grad(output.square().sum(), drawn)[0].abs().sum() > 0


def test_layers_of_shapes_do_what_torch_does(drawn):
    torch.testing.assert_close(run(composed(), drawn), composed_in_torch(drawn))


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
@pytest.mark.parametrize("name", [*ALONE, "composed"])
def test_a_layer_does_what_openvino_does(name, drawn, tmp_path):
    import openvino

    file = composed() if name == "composed" else alone(name)
    compiled = openvino.Core().compile_model(
        str(file.write(tmp_path / "x.xml")), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    (expected,) = compiled({0: drawn.numpy()}).values()
    torch.testing.assert_close(run(file, drawn), torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.add("Elu", {}, [("0", "0")]), "layer Elu is not known here"),
        (lambda file: file.layers[2].find("data").set("auto_pad", "same_upper"), "padding same_upper of Convolution"),
        (lambda file: file.layers[1].find("data").set("element_type", "u4"), "constants of type u4"),
        (lambda file: setattr(file, "weights", file.weights[:-8]), r"the \.bin is shorter than the \.xml says"),
    ],
)
def test_what_is_not_known_is_named(change, words):
    file = alone("Convolution")
    change(file)
    with pytest.raises(UnknownLayerError, match=words):
        Interpreter(file.net, file.weights)


def test_a_file_of_openvino_is_proven_or_scored(tmp_path, caplog):
    pytest.importorskip("openvino")
    file = composed()
    images = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    victim = open_model(file.write(tmp_path / "known.xml")).victim("unit")
    torch.testing.assert_close(victim(images), composed_in_torch(images), rtol=1e-4, atol=1e-5)
    assert victim.differentiable
    unknown = File()
    means = unknown.add("ReduceMean", {"keep_dims": "false"}, [unknown.images(), unknown.constant(ints(2, 3))])[0]
    unknown.end(unknown.add("Elu", {"alpha": "1.0"}, [means])[0]).write(tmp_path / "unknown.xml")
    with caplog.at_level("INFO"):
        victim = open_model(tmp_path / "unknown.xml").victim("unit")
    torch.testing.assert_close(victim(images), images.mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert not victim.differentiable
    assert "layer Elu is not known here: scores only, through openvino, without gradients" in caplog.text


def test_broken_files_of_openvino_are_one_line(tmp_path):
    pytest.importorskip("openvino")
    path = composed().write(tmp_path / "x.xml")
    text = path.read_text()
    path.write_text(text[:2000])
    with pytest.raises(CheckpointError, match=r"x\.xml cannot be read as an OpenVINO model"):
        open_model(path)
    path.write_text(text)
    path.with_suffix(".bin").unlink()
    with pytest.raises(CheckpointError, match=r"has no weights: .*x\.bin is missing; put it next to the \.xml"):
        open_model(path)
