"""ONNX files: turned into torch and proven, or scored; batches that are filled up; what the file says of its input."""

import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from reid import CheckpointError, models
from reid.models import InputSpec
from reid.models.formats import export
from reid.models.graphs import InBatches
from reid.models.sources import open_model
from reid.models.trial import drawn_images

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx2pytorch")

STRANGERS = Path(os.environ.get("REID_STRANGERS", Path(__file__).parents[3] / "shared" / "strangers"))
SIZE = (8, 6)
WEIGHT = np.random.default_rng(0).standard_normal((32, 3, 3, 3)).astype(np.float32)
FLOAT, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
MEANS = [("GlobalAveragePool", ["y"], {}), ("Flatten", ["y"], {})]


def write(path, nodes, shape=("n", 3, *SIZE), dtype=FLOAT, metadata=None, inputs=1):
    """An ONNX file: each node takes the output of the one before, called y, and constants of the name w."""
    made, last = [], "images"
    for place, (kind, given, settings) in enumerate(nodes):
        names = [last if name == "y" else name for name in given]
        made.append(onnx.helper.make_node(kind, names, [f"y{place}"], name=f"n{place}", **settings))
        last = f"y{place}"
    values = [onnx.helper.make_tensor_value_info(f"images{i or ''}", dtype, shape) for i in range(inputs)]
    output = [onnx.helper.make_tensor_value_info(last, FLOAT, None)]
    weights = [onnx.numpy_helper.from_array(WEIGHT, "w")]
    graph = onnx.helper.make_graph(made, "drawn", values, output, weights)
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def convolution():
    return ("Conv", ["y", "w"], {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]})


def expected(images):
    return nn.functional.conv2d(images, torch.from_numpy(WEIGHT), padding=1).mean((2, 3))


@pytest.fixture
def eleven():
    return torch.rand(11, 3, *SIZE, generator=torch.Generator().manual_seed(5))


def victim_of(path):
    return open_model(path).victim("unit")


@pytest.mark.parametrize("batch", ["n", 1, 8])
def test_a_batch_of_the_file_is_filled_up(batch, eleven, tmp_path, caplog):
    with caplog.at_level("INFO"):
        victim = victim_of(write(tmp_path / "x.onnx", [convolution(), *MEANS], (batch, 3, *SIZE)))
    assert "turned into torch, with gradients; differs from onnxruntime by" in caplog.text
    torch.testing.assert_close(victim(eleven), expected(eleven), rtol=1e-4, atol=1e-5)
    assert victim.differentiable
    image = eleven.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(victim(image).square().sum(), image)
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("count", [1, 8, 11])
def test_a_network_for_one_batch_size_takes_any_number(count):
    seen = []

    def network(images):
        seen.append(len(images))
        return [images.mean((2, 3)), images.sum((2, 3))]

    images = torch.rand(count, 3, 2, 2)
    means, sums = InBatches(network, 8)(images)
    assert torch.equal(means, images.mean((2, 3)))
    assert torch.equal(sums, images.sum((2, 3)))
    assert set(seen) == {8}


@pytest.mark.parametrize("batch", ["n", 8])
def test_what_cannot_be_turned_into_torch_gives_scores_and_says_so(batch, eleven, tmp_path, caplog):
    path = write(
        tmp_path / "x.onnx",
        [convolution(), *MEANS, ("QuickGelu", ["y"], {"domain": "com.microsoft", "alpha": 1.702})],
        (batch, 3, *SIZE),
    )
    with caplog.at_level("INFO"):
        victim = victim_of(path)
    assert "could not be turned into torch: scores only, through onnxruntime, without gradients" in caplog.text
    assert "gives no gradients, or only zero or infinite ones: scores only" in caplog.text
    means = expected(eleven)
    torch.testing.assert_close(victim(eleven), means * torch.sigmoid(1.702 * means), rtol=1e-4, atol=1e-5)
    assert not victim.differentiable


def test_a_converted_form_that_differs_is_not_a_source_of_gradients(eleven, tmp_path, monkeypatch, caplog):
    class Wrong(nn.Module):
        mapping: ClassVar = {}

        def __init__(self, model, experimental):
            super().__init__()

        def forward(self, images):
            return expected(images) * 1.002

    monkeypatch.setattr("onnx2pytorch.ConvertModel", Wrong)
    with caplog.at_level("INFO"):
        victim = victim_of(write(tmp_path / "x.onnx", [convolution(), *MEANS]))
    assert "differs from onnxruntime by 2e-03: scores only, through onnxruntime, without gradients" in caplog.text
    torch.testing.assert_close(victim(eleven), expected(eleven), rtol=1e-4, atol=1e-5)
    assert not victim.differentiable


def test_channels_may_be_last(eleven, tmp_path):
    first = ("Transpose", ["y"], {"perm": [0, 3, 1, 2]})
    victim = victim_of(write(tmp_path / "x.onnx", [first, convolution(), *MEANS], ("n", *SIZE, 3)))
    assert victim.input.size == SIZE
    torch.testing.assert_close(victim(eleven), expected(eleven), rtol=1e-4, atol=1e-5)


def test_whole_numbers_may_go_in(eleven, tmp_path):
    nodes = [("Cast", ["y"], {"to": FLOAT}), convolution(), *MEANS]
    victim = open_model(write(tmp_path / "x.onnx", nodes, dtype=UINT8)).victim("255")
    torch.testing.assert_close(victim(eleven), expected((255 * eleven).floor()), rtol=1e-4, atol=1e-3)


def test_other_names_of_weights_and_modes_of_norms_are_no_obstacle(eleven, tmp_path):
    """As recent exporters write them."""
    nodes = [convolution(), *MEANS]
    path = write(tmp_path / "x.onnx", nodes)
    model = onnx.load(path)
    ones, zeros = np.ones(32, np.float32), np.zeros(32, np.float32)
    model.graph.initializer.extend(
        [onnx.numpy_helper.from_array(ones, "ones"), onnx.numpy_helper.from_array(zeros, "zeros")]
    )
    norm = ["y2", "ones", "zeros", "mean", "ones"]
    model.graph.node.insert(0, onnx.helper.make_node("Identity", ["zeros"], ["mean"]))
    model.graph.node.append(onnx.helper.make_node("BatchNormalization", norm, ["y3"], training_mode=0, epsilon=0.0))
    model.graph.output[0].name = "y3"
    onnx.save(model, path)
    victim = victim_of(path)
    torch.testing.assert_close(victim(eleven), expected(eleven), rtol=1e-4, atol=1e-5)
    assert victim.differentiable


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, for its exporter
def test_a_graph_that_measures_its_batch_can_be_exported_again(eleven, tmp_path):
    """As torch writes images.view(images.size(0), -1)."""

    class Viewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 32, 3)

        def forward(self, images):
            means = nn.functional.adaptive_avg_pool2d(self.body(images), 1)
            return means.view(means.size(0), -1)

    free = {"dynamic_axes": {"images": {0: "batch"}}, "input_names": ["images"]}
    torch.onnx.export(Viewed(), (torch.rand(2, 3, *SIZE),), tmp_path / "x.onnx", dynamo=False, **free)
    assert "Reshape" in {node.op_type for node in onnx.load(tmp_path / "x.onnx").graph.node}
    export(tmp_path / "x.onnx", "onnx", tmp_path / "again.onnx", preprocessing="unit")
    first, again = victim_of(tmp_path / "x.onnx"), models.load_victim(tmp_path / "again.onnx")
    torch.testing.assert_close(again(eleven), first(eleven))
    assert again.input == first.input


def test_what_the_file_says_of_its_input_is_used(tmp_path):
    spec = InputSpec(*SIZE, channels="bgr", scale=255.0)
    metadata = {"input": spec.to_json(), "distance": "euclidean"}
    source = open_model(write(tmp_path / "x.onnx", [convolution(), *MEANS], metadata=metadata))
    assert (source.certain, source.distance, source.victim().input) == (True, "euclidean", spec)


@pytest.mark.parametrize(
    "metadata", [{}, {"input": "images", "distance": "far"}, {"input": "[1]"}, {"input": '{"a": 1}'}]
)
def test_metadata_of_another_sense_are_passed_over(metadata, tmp_path):
    source = open_model(write(tmp_path / "x.onnx", [convolution(), *MEANS], metadata=metadata))
    assert (source.certain, source.distance) == (False, "cosine")
    assert source.victim("unit").input.size == SIZE


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": 2}, r"takes images tensor\(float\) .*, not images \(N, 3, H, W\)"),
        ({"shape": ("n", 4, *SIZE)}, r"not images \(N, 3, H, W\)"),
        ({"dtype": onnx.TensorProto.INT64}, r"tensor\(int64\).*not images"),
    ],
)
def test_what_takes_no_images_is_one_line(options, words, tmp_path):
    nodes = [("Cast", ["y"], {"to": FLOAT}), *MEANS]
    with pytest.raises(CheckpointError, match=words):
        open_model(write(tmp_path / "x.onnx", nodes, **options))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_broken_files_are_one_line(share, tmp_path):
    path = write(tmp_path / "x.onnx", [convolution(), *MEANS])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"x\.onnx cannot be read as an ONNX model") as caught:
        open_model(path)
    assert len(str(caught.value)) <= 512


def stranger(name):
    if not (STRANGERS / name).is_file():
        pytest.skip(f"no {STRANGERS / name}; REID_STRANGERS names the folder")
    return STRANGERS / name


def assert_near(victim, reference, limit):
    images = drawn_images(256, 128)
    theirs = torch.from_numpy(reference(victim.layer(images).numpy()))
    image = images.requires_grad_()
    ours = victim(image)
    assert (ours - theirs).abs().max() < limit * theirs.abs().max()
    assert torch.autograd.grad(ours.square().sum(), image)[0].abs().sum() > 0


def test_an_osnet_of_trackers(tmp_path):
    path = stranger("osnet_x0_25_msmt17.onnx")
    session = runtime.InferenceSession(str(path))
    victim = models.load_victim(path)
    assert victim.input == InputSpec(256, 128, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert_near(victim, lambda array: session.run(None, {"images": array})[0], 1e-4)
    export(path, "onnx", tmp_path / "again.onnx")
    again = models.load_victim(tmp_path / "again.onnx")
    assert again.input == victim.input
    assert_near(again, lambda array: session.run(None, {"images": array})[0], 1e-4)


def test_intels_network():
    path, openvino = stranger("person-reidentification-retail-0288.xml"), pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    victim = models.load_victim(path)
    assert victim.input == InputSpec(256, 128, channels="bgr", scale=255)
    assert_near(victim, lambda array: np.concatenate([compiled(each[None])[0] for each in array]), 1e-3)
