"""ONNX files. onnx2pytorch turns them into torch; onnxruntime is the proof, and runs what cannot be turned."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reid.errors import CheckpointError
from reid.models.graphs import Contract, Graph, InBatches, Scores, proven
from reid.models.inputs import InputSpec
from reid.models.readings import DISTANCES
from reid.runtime.extras import extra

logger = logging.getLogger(__name__)

INPUT, DISTANCE = "input", "distance"  # what the metadata of exported files say
_DTYPES = {"float": "float32", "float16": "float16", "double": "float64", "uint8": "uint8"}


def load_onnx(path: str | Path) -> Graph:
    """The model in an ONNX file. Raises CheckpointError for one that does not run, or takes no images."""
    onnx, runtime = extra("onnx", "an ONNX model"), extra("onnxruntime", "an ONNX model")
    runtime.set_default_logger_severity(4)  # what it raises says the same
    try:
        model = onnx.load(str(path))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a class of its own for each kind of damage
        problem = f"{path} cannot be read as an ONNX model ({' '.join(str(error).split())[:200]})"
        raise CheckpointError(f"{problem}; export it again, with its external data next to it") from error
    contract = _contract(session, path)
    name = session.get_inputs()[0].name
    reference = Scores(lambda array: session.run(None, {name: array}), contract, arch="onnx")
    names = {each.name for each in model.graph.initializer} | {each.name for each in model.graph.node}
    _simplify(model.graph)
    network, report = proven(_converted(model, contract), reference, contract, "onnxruntime")
    said = session.get_modelmeta().custom_metadata_map
    input = InputSpec.stated(said.get(INPUT), path)
    distance = next((name for name in DISTANCES if name == said.get(DISTANCE)), "cosine")
    return Graph(network, contract, frozenset(names), report, input, input is not None, distance)


def _contract(session: Any, path: str | Path) -> Contract:
    inputs = session.get_inputs()
    shape = inputs[0].shape
    dtype = _DTYPES.get(inputs[0].type.removeprefix("tensor(").removesuffix(")"))
    if len(inputs) > 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]) or dtype is None:
        listed = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        raise CheckpointError(f"{path} takes {listed}, not images (N, 3, H, W); export the part that gives features")
    channels_last = shape[1] != 3
    height, width = shape[1:3] if channels_last else shape[2:]

    def fixed(number: object) -> int | None:
        return number if isinstance(number, int) and number > 0 else None

    return Contract(fixed(shape[0]), fixed(height), fixed(width), channels_last, dtype)


def _simplify(graph: Any) -> None:
    """Take out, in place, what onnx2pytorch does not know and nothing needs: second names, modes of norms."""
    weights = {each.name for each in graph.initializer}
    aliases = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in weights]
    named = {node.output[0]: node.input[0] for node in aliases}
    for alias in aliases:
        graph.node.remove(alias)
    for node in graph.node:
        node.input[:] = [named.get(name, name) for name in node.input]
        for mode in [each for each in node.attribute if each.name == "training_mode" and not each.i]:
            node.attribute.remove(mode)
    _flatten(graph)


def _flatten(graph: Any) -> None:
    """Make each Reshape to the batch's own size and all the rest a Flatten, in place: traced, it still takes any batch.

    Should the size be another one, the proof fails, and the model gives scores only.
    """
    makers = {name: node for node in graph.node for name in node.output}

    def measured(name: str) -> str | None:
        """What a shape of two numbers, the first of which is measured, is the shape of."""
        if name not in makers or len(makers[name].input) != 2:
            return None
        for kind in ("Concat", "Unsqueeze", "Gather", "Shape"):
            if name not in makers or makers[name].op_type != kind:
                return None
            name = makers[name].input[0]
        return name

    for node in graph.node:
        if node.op_type == "Reshape" and measured(node.input[1]) == node.input[0]:
            node.op_type = "Flatten"
            del node.input[1], node.attribute[:]


def _converted(model: Any, contract: Contract) -> list[nn.Module]:
    """The model in torch, if it can be turned: for any batch first, then for the batch of the file."""
    if contract.channels_last or contract.dtype == "uint8":
        return []
    convert = extra("onnx2pytorch", "gradients of an ONNX model").ConvertModel
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = convert(model, experimental=True)
    except Exception as error:  # whatever an operator that it does not know raises
        logger.debug("onnx2pytorch: %s", error)
        return []
    warnings.filterwarnings("ignore", category=UserWarning, module="onnx2pytorch")  # of how it indexes, at each call
    network.arch = "onnx"
    return [network, *([InBatches(network, contract.batch)] if contract.batch else [])]
