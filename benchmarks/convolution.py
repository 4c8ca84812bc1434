"""All convolutions of a network in a training step: outputs, and gradients with respect to weights and inputs.

    python -m benchmarks.convolution                                        # outputs, ResNet-50, 256 x 128
    python -m benchmarks.convolution --of weight --arch resnet18 --height 80 --width 40 --batch_size 64

The literal kind is the library's kernels; of the gradients with respect to inputs, that of the images is one. The floor
is the arithmetic, to which products with padding do not belong.
"""

import argparse
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from benchmarks import measure
from reid import models
from reid.models.convolution import input_gradient, output, weight_gradient
from reid.runtime import cli, device

Layer = tuple[Tensor, Tensor, Tensor, tuple]
PASSES = ("output", "weight", "input")


def layers(args: argparse.Namespace) -> list[Layer]:
    """dy, x, weight and the other arguments of every convolution, at a pass of images."""
    found: list[Layer] = []

    def keep(layer: nn.Conv2d, inputs: tuple[Tensor], y: Tensor) -> None:
        how = (layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups)
        found.append((torch.randn_like(y), inputs[0], layer.weight.detach(), how))

    model = models.create(args.arch, 751, seed=0).to(args.device, memory_format=torch.channels_last)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(keep)
    with torch.no_grad():
        model(torch.rand(args.batch_size, 3, args.height, args.width, device=args.device))
    return found


def ours(of: str, dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    if of == "output":
        return output(x, weight, None, how)
    return (weight_gradient if of == "weight" else input_gradient)(dy, x, weight, how)


def library(of: str, dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    if of == "output":
        return torch.convolution(x, weight, None, *how)
    found = torch.ops.aten.convolution_backward(dy, x, weight, None, *how, [of == "input", of == "weight", False])
    return found[0] if of == "input" else found[1]


KINDS = {"literal": library, "ours": ours}


def setup(args: argparse.Namespace, kind: str) -> measure.Step:
    device.set_up(device.resolve(args.device))
    given = layers(args)
    return lambda: [KINDS[kind](args.of, *layer) for layer in given]


def products(places: int, size: int, taps: int, stride: int, padding: int) -> int:
    """Pairs of an output and a tap that meets the map, along one dimension."""
    return sum(0 <= place * stride + tap - padding < size for place in range(places) for tap in range(taps))


def arithmetic(dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> int:
    """Floating-point operations of one pass of a convolution; a multiply-add is two."""
    stride, padding, *_ = how
    pairs = prod(map(products, dy.shape[2:], x.shape[2:], weight.shape[2:], stride, padding))
    return 2 * len(x) * weight.shape[0] * weight.shape[1] * pairs


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.convolution")
    parser.add_argument("--of", choices=PASSES, default="output", help="what is computed: outputs, or gradients")
    parser.add_argument("--arch", choices=models.names(), default="resnet50", help="network")
    parser.add_argument("--batch_size", type=cli.positive_int, default=12, help="images")
    measure.add_options(parser, repeats=5)
    args = parser.parse_args()
    flops = sum(arithmetic(*layer) for layer in layers(args))
    kinds = {kind: partial(setup, args, kind) for kind in KINDS}
    measure.lines("convolution", kinds, baseline="literal", work=measure.Work(flops), **measure.facts(args))


if __name__ == "__main__":
    cli.run(lambda _: main())
