"""ONNX files. onnx2pytorch turns them into torch; onnxruntime is the proof, and runs what cannot be turned."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reid.errors import CheckpointError, UsageError
from reid.models.graphs import Contract, Graph, InBatches, Scores, proven
from reid.models.inputs import InputSpec
from reid.models.readings import DISTANCES
from reid.runtime.extras import extra

logger = logging.getLogger(__name__)

INPUT, DISTANCE = "input", "distance"  # what the metadata of exported files say
_DTYPES = {"float": "float32", "float16": "float16", "double": "float64", "uint8": "uint8"}


def load_onnx(path: str | Path) -> Graph:
    """The model in an ONNX file. Raises CheckpointError for one that does not run, or takes no images."""
    model, session = _opened(path)
    reference = _scores(session, path)
    contract = reference.contract
    names = {each.name for each in model.graph.initializer} | {each.name for each in model.graph.node}
    _simplify(model.graph)
    network, report = proven(_converted(model, contract), reference, contract, "onnxruntime")
    said = session.get_modelmeta().custom_metadata_map
    input = InputSpec.stated(said.get(INPUT), path)
    distance = next((name for name in DISTANCES if name == said.get(DISTANCE)), "cosine")
    return Graph(network, contract, frozenset(names), report, input, input is not None, distance)


def _opened(path: str | Path) -> tuple[Any, Any]:
    """The graph in a file, and a session of onnxruntime that runs it."""
    onnx, runtime = extra("onnx", "an ONNX model"), extra("onnxruntime", "an ONNX model")
    runtime.set_default_logger_severity(4)  # what it raises says the same
    try:
        model = onnx.load(str(path))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return model, runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a class of its own for each kind of damage
        problem = f"{path} cannot be read as an ONNX model ({' '.join(str(error).split())[:200]})"
        raise CheckpointError(f"{problem}; export it again, with its external data next to it") from error


def _scores(session: Any, path: str | Path) -> Scores:
    name = session.get_inputs()[0].name
    return Scores(lambda array: session.run(None, {name: array}), _contract(session, path), arch="onnx")


def run_onnx(path: str | Path) -> Scores:
    """The model in an ONNX file as onnxruntime runs it. Raises CheckpointError as `load_onnx` does."""
    return _scores(_opened(path)[1], path)


class WeightsOfOnnx:
    """Which numbers in an ONNX file are which weights of the network that `load_onnx` makes of it.

    Found by turning the file into torch once more with all its numbers replaced by their places, 0, 1, ... Raises
    UsageError where the places of a weight cannot be told, and where two weights have the same.
    """

    def __init__(self, path: str | Path) -> None:
        onnx = extra("onnx", "an ONNX model")
        self._model, session = _opened(path)
        self._tensors = _floating(self._model.graph)
        numbered, start = onnx.ModelProto(), 0
        numbered.CopyFrom(self._model)
        for tensor in _floating(numbered.graph):
            places = np.arange(start, start + int(np.prod(tensor.dims)), dtype=np.float64).reshape(tuple(tensor.dims))
            tensor.CopyFrom(onnx.numpy_helper.from_array(places, tensor.name))
            start += places.size
        _simplify(numbered.graph)
        twins = _converted(numbered, _contract(session, path))
        self._places = _state(twins[0]) if twins else {}
        whole = torch.cat([each.flatten() for twin in twins[:1] for each in twin.parameters()] or [torch.empty(0)])
        if not len(whole) or len(whole.round().unique()) != len(whole) or not torch.equal(whole, whole.round()):
            problem = "its weights are shared by other layers, or computed as it is turned into torch"
            raise UsageError(f"{path} cannot be defended, since it could not be written back: {problem}")

    def write(self, network: nn.Module, path: str | Path, **said: str) -> None:
        """The file, as `path`, with the weights of `network` in place of its own, and what its metadata are to say."""
        onnx = extra("onnx", "an ONNX model")
        arrays = [onnx.numpy_helper.to_array(tensor) for tensor in self._tensors]
        numbers = torch.from_numpy(np.concatenate([array.ravel().astype(np.float64) for array in arrays]))
        trained = _state(network)
        for key, places in self._places.items():
            numbers[places.long()] = trained[key].detach().cpu().double()
        sizes = np.cumsum([array.size for array in arrays])[:-1]
        for tensor, old, new in zip(self._tensors, arrays, np.split(numbers.numpy(), sizes), strict=True):
            values = new.reshape(old.shape).astype(old.dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        kept = {each.key: each.value for each in self._model.metadata_props}
        onnx.helper.set_model_props(self._model, kept | said)
        Path(path).write_bytes(self._model.SerializeToString())


def _floating(graph: Any) -> list[Any]:
    """The initializers of a graph that are float32, float16 or float64."""
    return [tensor for tensor in graph.initializer if tensor.data_type in (1, 10, 11)]


def _state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and running statistics; not the numbers of the file, which onnx2pytorch keeps as well."""
    state = network.state_dict()
    return {key: value for key, value in state.items() if value.is_floating_point() and not key.startswith("_init")}


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
        _number_layers(network)
        _tie(network, model.graph)
    except Exception as error:  # whatever an operator that it does not know raises
        logger.debug("onnx2pytorch: %s", error)
        return []
    warnings.filterwarnings("ignore", category=UserWarning, module="onnx2pytorch")  # of how it indexes, at each call
    network.arch = "onnx"
    return [network, *([InBatches(network, contract.batch)] if contract.batch else [])]


def _number_layers(network: Any) -> None:
    """Name the layers by their order: names of ONNX have dots, by which torch's functional calls cannot find them."""
    names = [name for name in network.mapping.values() if name in network._modules]
    numbers = {name: f"layer{number}" for number, name in enumerate(names)}
    layers = {numbers[name]: network._modules.pop(name) for name in names}
    network._modules |= layers
    network.mapping = {output: numbers.get(name, name) for output, name in network.mapping.items()}


def _tie(network: Any, graph: Any) -> None:
    """Let layers that share their weights in the file share them in torch."""
    stored = {tensor.name for tensor in graph.initializer}
    firsts: dict[tuple[str, ...], nn.Module] = {}
    for node in graph.node:
        layer = network._modules.get(network.mapping.get(node.output[0]))
        weights = [name for name in node.input if name in stored]
        if weights and layer is not None:
            first = firsts.setdefault((node.op_type, *weights), layer)
            for name, weight in list(layer.named_parameters()):
                place, _, last = name.rpartition(".")
                if torch.equal(shared := first.get_parameter(name), weight):
                    layer.get_submodule(place)._parameters[last] = shared
