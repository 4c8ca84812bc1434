"""OpenVINO's .xml and .bin: their layers in torch; openvino is the proof, and runs what cannot be turned."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

from reid.errors import CheckpointError
from reid.models.graphs import Contract, Graph, Scores, proven
from reid.models.graphs.layers import Interpreter, UnknownLayerError
from reid.runtime.extras import extra


def load_openvino(path: str | Path) -> Graph:
    """The model in an .xml file with its .bin. Raises CheckpointError for one that does not run, or takes no images."""
    openvino = extra("openvino", "an OpenVINO model")
    weights = Path(path).with_suffix(".bin")
    if not weights.is_file():
        raise CheckpointError(f"{path} has no weights: {weights} is missing; put it next to the .xml")
    core = openvino.Core()
    try:
        model = core.read_model(str(path))
        contract = _contract(model, path)
        exact = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16 on processors that have it
        compiled = core.compile_model(model, "CPU", exact)
    except RuntimeError as error:
        problem = f"{path} cannot be read as an OpenVINO model ({' '.join(str(error).split())[:200]})"
        raise CheckpointError(f"{problem}; convert it again") from error
    request = compiled.create_infer_request()

    def run(array: np.ndarray) -> list[np.ndarray]:
        return [np.array(output) for output in request.infer({0: array}).values()]

    reference = Scores(run, contract, arch="openvino")
    try:
        interpreter = Interpreter(ET.parse(path).getroot(), weights.read_bytes())
    except UnknownLayerError as error:
        report = f"{error}: scores only, through openvino, without gradients"
        return Graph(reference, contract, frozenset(), report)
    network, report = proven([interpreter], reference, contract, "openvino")
    return Graph(network, contract, interpreter.names, report)


def _contract(model: Any, path: str | Path) -> Contract:
    shapes = [each.get_partial_shape() for each in model.inputs]
    if len(shapes) > 1 or shapes[0].rank.is_dynamic or len(shapes[0]) != 4:
        listed = ", ".join(map(str, shapes))
        raise CheckpointError(f"{path} takes {listed}, not images (N, 3, H, W); convert the part that gives features")
    batch, *size = [each.get_length() if each.is_static else None for each in shapes[0]]
    channels_last = size[0] != 3
    height, width = (size[0], size[1]) if channels_last else (size[1], size[2])
    return Contract(batch, height, width, channels_last)
