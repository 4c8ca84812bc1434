"""ONNX files. onnx2pytorch turns them into torch; onnxruntime is the proof, and runs what cannot be turned."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reid.errors import CheckpointError
from reid.models.graphs import Contract, Graph, InBatches, Scores, proven
from reid.runtime.extras import extra

logger = logging.getLogger(__name__)

_DTYPES = {"float": "float32", "float16": "float16", "double": "float64", "uint8": "uint8"}


def load_onnx(path: str | Path) -> Graph:
    """The model in an ONNX file. Raises CheckpointError for one that does not run, or takes no images."""
    onnx, runtime = extra("onnx", "an ONNX model"), extra("onnxruntime", "an ONNX model")
    runtime.set_default_logger_severity(3)
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
    network, report = proven(_converted(model, contract), reference, contract, "onnxruntime")
    names = {each.name for each in model.graph.initializer} | {each.name for each in model.graph.node}
    return Graph(network, contract, frozenset(names), report)


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
    network.arch = "onnx"
    return [network, *([InBatches(network, contract.batch)] if contract.batch else [])]
