"""The layers of OpenVINO's intermediate representation that re-ID networks use, in torch, with gradients.

Facts from OpenVINO's public operation sets. Shapes and other whole numbers stay on the CPU, whatever the device.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import reduce
from graphlib import TopologicalSorter
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Settings = dict[str, str]
Layer = Callable[[list[Tensor], Settings], Tensor | tuple[Tensor, ...]]
_DTYPES = {
    "f16": np.float16, "f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32, "i8": np.int8,
    "u8": np.uint8, "boolean": np.bool_,
}  # fmt: skip


class UnknownLayerError(Exception):
    """A layer, or a setting of one, that is not known here; in words."""


class _Step(NamedTuple):
    kind: str
    settings: Settings
    inputs: list[str]
    output: str


class Interpreter(nn.Module):
    """The network of an .xml file (its root element) with the bytes of its .bin; images to its outputs, any batch.

    Raises UnknownLayerError for a layer that is not in LAYERS.
    """

    arch = "openvino"

    def __init__(self, root: Element, weights: bytes) -> None:
        super().__init__()
        layers = {str(layer.get("id")): layer for layer in root.iterfind("layers/layer")}
        inputs = _inputs(root, layers)
        order = TopologicalSorter({layer: [name.split("_")[0][1:] for name in inputs[layer]] for layer in layers})
        self.names = frozenset(str(layer.get("name")) for layer in layers.values())
        self._steps: list[_Step] = []
        self._whole: dict[str, Tensor] = {}  # constants of whole numbers; the others are buffers
        for place in order.static_order():
            data = layers[place].find("data")
            settings = dict(data.attrib) if data is not None else {}
            self._add(_Step(str(layers[place].get("type")), settings, inputs[place], f"v{place}_0"), weights)

    def forward(self, images: Tensor) -> list[Tensor]:
        values = dict(self.named_buffers()) | self._whole
        outputs = []
        for kind, settings, inputs, output in self._steps:
            if kind == "Parameter":
                values[output] = images
            elif kind == "Result":
                outputs.append(values[inputs[0]])
            else:
                result = LAYERS[kind]([values[name] for name in inputs], settings)
                for port, value in enumerate(result if isinstance(result, tuple) else (result,)):
                    values[f"{output[:-1]}{port}"] = value
        return outputs

    def _add(self, step: _Step, weights: bytes) -> None:
        if step.kind == "Const":
            constant = _constant(step.settings, weights)
            if constant.is_floating_point():
                self.register_buffer(step.output, constant)
            else:
                self._whole[step.output] = constant
        elif step.kind in LAYERS or step.kind in ("Parameter", "Result"):
            if step.settings.get("auto_pad", "explicit") not in ("explicit", "valid"):
                raise UnknownLayerError(f"padding {step.settings['auto_pad']} of {step.kind} is not known here")
            self._steps.append(step)
        else:
            raise UnknownLayerError(f"layer {step.kind} is not known here")


def _inputs(root: Element, layers: dict[str, Element]) -> dict[str, list[str]]:
    """The names of each layer's inputs, in the order of its ports: v3_0 is the first output of layer 3."""
    ports = {layer: [port.get("id") for port in each.iterfind("output/port")] for layer, each in layers.items()}
    edges: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for edge in root.iterfind("edges/edge"):
        source, port = str(edge.get("from-layer")), edge.get("from-port")
        name = f"v{source}_{ports[source].index(port)}"
        edges[str(edge.get("to-layer"))].append((int(str(edge.get("to-port"))), name))
    return {layer: [name for _, name in sorted(edges[layer])] for layer in layers}


def _constant(settings: Settings, weights: bytes) -> Tensor:
    """A constant from the .bin, half precision as float32."""
    if settings["element_type"] not in _DTYPES:
        raise UnknownLayerError(f"constants of type {settings['element_type']} are not known here")
    start, size = int(settings["offset"]), int(settings["size"])
    array: np.ndarray = np.frombuffer(weights[start : start + size], _DTYPES[settings["element_type"]])
    shape = _numbers(settings.get("shape", ""))
    if len(array) != int(np.prod(shape)):
        raise UnknownLayerError("the .bin is shorter than the .xml says")
    tensor = torch.from_numpy(array.reshape(shape).copy())
    return tensor.float() if tensor.is_floating_point() else tensor


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",") if each.strip()]


def _padded(images: Tensor, settings: Settings, value: float = 0.0) -> Tensor:
    """Images with the borders of `pads_begin` and `pads_end`, (top, left) and (bottom, right)."""
    if settings.get("auto_pad") == "valid":
        return images
    (top, left), (bottom, right) = _numbers(settings["pads_begin"]), _numbers(settings["pads_end"])
    return F.pad(images, (left, right, top, bottom), value=value) if any((top, left, bottom, right)) else images


def _convolution(inputs: list[Tensor], settings: Settings) -> Tensor:
    images, weight = inputs
    groups = 1
    if weight.ndim == 5:  # groups, outputs of a group, inputs of a group, height, width
        groups, weight = len(weight), weight.flatten(0, 1)
    strides, dilations = _numbers(settings["strides"]), _numbers(settings["dilations"])
    return F.conv2d(_padded(images, settings), weight, None, strides, 0, dilations, groups)


def _max_pool(inputs: list[Tensor], settings: Settings) -> Tensor:
    kernel, strides = _numbers(settings["kernel"]), _numbers(settings["strides"])
    images = _padded(inputs[0], settings, float("-inf"))
    return F.max_pool2d(images, kernel, strides, ceil_mode=settings.get("rounding_type") == "ceil")


def _average_pool(inputs: list[Tensor], settings: Settings) -> Tensor:
    kernel, strides = _numbers(settings["kernel"]), _numbers(settings["strides"])
    pads = _numbers(settings["pads_begin"])
    if pads != _numbers(settings["pads_end"]):
        raise UnknownLayerError("AvgPool with other borders at the end than at the beginning is not known here")
    ceil, with_border = settings.get("rounding_type") == "ceil", settings.get("exclude-pad") == "false"
    return F.avg_pool2d(inputs[0], kernel, strides, pads, ceil, with_border)


def _normalised(inputs: list[Tensor], settings: Settings) -> Tensor:
    """MVN: less its mean, by its deviation, over the axes of the second input, or all but batch and channel."""
    images = inputs[0]
    first = 1 if settings.get("across_channels") == "true" else 2
    axes = inputs[1].tolist() if len(inputs) > 1 else list(range(first, images.ndim))
    centred = images - images.mean(axes, keepdim=True)
    if settings.get("normalize_variance") == "false":
        return centred
    eps, variance = float(settings["eps"]), centred.square().mean(axes, keepdim=True)
    inside = settings.get("eps_mode", "inside_sqrt").lower() == "inside_sqrt"
    return centred / ((variance + eps).sqrt() if inside else variance.sqrt() + eps)


def _reduced(inputs: list[Tensor], settings: Settings) -> Tensor:
    return inputs[0].mean(inputs[1].flatten().tolist(), keepdim=settings.get("keep_dims") == "true")


def _product(inputs: list[Tensor], settings: Settings) -> Tensor:
    left, right = inputs
    left = left.mT if settings.get("transpose_a") == "true" else left
    return left @ (right.mT if settings.get("transpose_b") == "true" else right)


def _reshaped(inputs: list[Tensor], settings: Settings) -> Tensor:
    tensor, shape = inputs[0], inputs[1].flatten().tolist()
    if settings.get("special_zero") == "true":
        shape = [tensor.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return tensor.reshape(shape)


def _squeezed(inputs: list[Tensor], settings: Settings) -> Tensor:
    return inputs[0].squeeze(inputs[1].flatten().tolist() if len(inputs) > 1 else list(range(inputs[0].ndim)))


def _unsqueezed(inputs: list[Tensor], settings: Settings) -> Tensor:
    return reduce(lambda tensor, axis: tensor.unsqueeze(axis), sorted(inputs[1].flatten().tolist()), inputs[0])


def _gathered(inputs: list[Tensor], settings: Settings) -> Tensor:
    tensor, places = inputs[0], inputs[1].to(inputs[0].device)
    axis = int(inputs[2]) % tensor.ndim
    rows = tensor.index_select(axis, places.flatten())
    return rows.reshape((*tensor.shape[:axis], *places.shape, *tensor.shape[axis + 1 :]))


LAYERS: dict[str, Layer] = {
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "AvgPool": _average_pool,
    "Concat": lambda inputs, settings: torch.cat(inputs, int(settings["axis"])),
    "Convert": lambda inputs, _: inputs[0],
    "Convolution": _convolution,
    "Divide": lambda inputs, _: inputs[0] / inputs[1],
    "Gather": _gathered,
    "GroupConvolution": _convolution,
    "MatMul": _product,
    "MaxPool": _max_pool,
    "Multiply": lambda inputs, _: inputs[0] * inputs[1],
    "MVN": _normalised,
    "PReLU": lambda inputs, _: F.prelu(inputs[0], inputs[1].flatten()),
    "Range": lambda inputs, _: torch.arange(*(each.item() for each in inputs)),
    "ReduceMean": _reduced,
    "ReLU": lambda inputs, _: F.relu(inputs[0]),
    "Reshape": _reshaped,
    "ShapeOf": lambda inputs, _: torch.tensor(inputs[0].shape),
    "Sigmoid": lambda inputs, _: inputs[0].sigmoid(),
    "Split": lambda inputs, settings: inputs[0].tensor_split(int(settings["num_splits"]), int(inputs[1])),
    "Squeeze": _squeezed,
    "Subtract": lambda inputs, _: inputs[0] - inputs[1],
    "Transpose": lambda inputs, _: inputs[0].permute(inputs[1].tolist()),
    "Unsqueeze": _unsqueezed,
}
