"""torchreid's OSNets, and boxmot's files of them."""

import logging
import os
from pathlib import Path

import pytest
import torch
from drawn import drawn_images, drawn_state, read_golden
from golden import assert_golden

from reid import CheckpointError, models
from reid.models.families.osnet import OSNetFamily

STRANGERS = Path(os.environ.get("REID_STRANGERS", Path(__file__).parents[4] / "shared" / "strangers"))
FILE = STRANGERS / "osnet_x0_25_msmt17.onnx"


@pytest.fixture(scope="module")
def state():
    return drawn_state(read_golden("osnet-osnet_x0_25")["keys"])


@pytest.fixture(scope="module")
def ain():
    return drawn_state(read_golden("osnet-osnet_ain_x0_25")["keys"])


@pytest.mark.parametrize(
    "name",
    [
        *(f"osnet_x{width}" for width in ("1_0", "0_75", "0_5", "0_25")),
        *(f"osnet_ain_x{width}" for width in ("1_0", "0_75", "0_5", "0_25")),
        "osnet_ibn_x1_0",
    ],
)
def test_features_are_those_of_torchreid(name):
    model, report = assert_golden(f"osnet-{name}")
    assert model.arch == name
    assert report.unexpected == ["classifier.weight", "classifier.bias"]
    assert report.missing == report.mismatched == []


def test_the_input_is_torchreids(state):
    spec = OSNetFamily().input(state, {})
    assert (spec.size, spec.resize, spec.channels, spec.scale) == ((256, 128), "bilinear", "rgb", 1)
    assert (spec.mean, spec.std) == (models.inputs.IMAGENET_MEAN, models.inputs.IMAGENET_STD)


def boxmot(state, **others):
    """What boxmot's trainer saves as its best file: float16, without the classifier."""
    compact = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    kept = {key: value for key, value in compact.items() if not key.startswith("classifier.")}
    metadata = {"model_name": "osnet_x0_25", "num_classes": 1041, "preprocess": "resize", "img_size": [256, 128]}
    return {**metadata, **others, "state_dict": kept, "epoch": 3, "checkpoint_precision": "float16"}


def test_boxmots_envelope_gives_the_same_network_and_its_size(state, tmp_path):
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "osnet.pth.tar-60")
    torch.save(boxmot(state, img_size=[384, 128]), tmp_path / "best.pt")
    victim, other = (models.load_victim(tmp_path / name) for name in ("osnet.pth.tar-60", "best.pt"))
    assert (victim.input.size, other.input.size) == ((256, 128), (384, 128))
    assert (victim.arch, victim.feature_dim, victim.differentiable) == ("osnet_x0_25", 512, True)
    images = drawn_images(256, 128)
    with torch.no_grad():
        same = torch.nn.functional.cosine_similarity(victim.model(images), other.model(images))
    torch.testing.assert_close(same, torch.ones(3), rtol=0, atol=1e-3)  # float16 and 384 rows


@pytest.mark.parametrize("size", [None, [256], "256x128", [0, 128], [256.0, 128], {"h": 256}, [True, 1]])
def test_a_size_that_is_none_is_not_taken(size, state):
    assert OSNetFamily().input(state, boxmot(state, img_size=size)).size == (256, 128)


def test_padded_training_images_are_said(state, caplog):
    with caplog.at_level(logging.WARNING):
        OSNetFamily().input(state, boxmot(state, preprocess="resize_pad"))
    assert "'resize_pad', which kept their proportions; here they are stretched" in caplog.text


@pytest.mark.parametrize("block", ["conv2.0", "conv3.1", "conv4.0"])
@pytest.mark.parametrize("lost", [("weight",), ("bias",), ("weight", "bias")])
def test_a_block_without_its_instance_normalisation_is_not_taken_for_another(block, lost, ain):
    state = {key: value for key, value in ain.items() if key not in [f"{block}.IN.{name}" for name in lost]}
    with pytest.raises(CheckpointError, match=rf"{block}\.(IN\.(weight|bias)|conv3\.bn)"):
        OSNetFamily().build(state, "x.pth")


def test_the_weights_of_a_real_osnet(tmp_path):
    """Those of an ONNX file, in which batch normalisations are folded into convolutions."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    if not FILE.is_file():
        pytest.skip(f"no {FILE}; REID_STRANGERS names the folder")
    torch.save(unfolded(onnx, drawn_state(read_golden("osnet-osnet_x0_25")["keys"])), tmp_path / "osnet.pth")
    victim = models.load_victim(tmp_path / "osnet.pth")
    images = victim.layer(drawn_images(256, 128))
    (expected,) = runtime.InferenceSession(str(FILE)).run(None, {"images": images.numpy()})
    with torch.no_grad():
        ours = victim.model(images)
    assert (ours - torch.from_numpy(expected)).abs().max() < 1e-4 * ours.abs().max()


def unfolded(onnx, state):
    """The weights of the ONNX file under the keys of `state`; its batch normalisations only add what they have to."""
    graph = onnx.load(FILE).graph
    values = {item.name: torch.from_numpy(onnx.numpy_helper.to_array(item).copy()) for item in graph.initializer}
    found = {key: value for key, value in values.items() if key in state}
    for node in graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or node.input[1] in state:
            continue
        scopes = node.name.strip("/").split("/")[:-1]
        pairs = zip(scopes, [*scopes[1:], ""], strict=True)
        place = ".".join(scope for scope, inner in pairs if not inner.startswith(f"{scope}."))
        weight, bias = (values[name] for name in node.input[1:])
        norm, ones = f"{place.rpartition('.')[0]}.bn", torch.ones(len(bias))
        found |= {f"{place}.weight": weight, f"{norm}.weight": ones, f"{norm}.bias": bias}
        found |= {f"{norm}.running_mean": 0 * ones, f"{norm}.running_var": ones - 1e-5}
    return found
