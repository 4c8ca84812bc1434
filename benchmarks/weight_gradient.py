"""The gradients with respect to the weights of all convolutions of a network, which training computes at every step.

    python -m benchmarks.weight_gradient          # ResNet-50, 256 x 128, batches of 12
    python -m benchmarks.weight_gradient --arch resnet18 --height 80 --width 40 --batch_size 64

The literal kind is the library's kernel. The floor is the arithmetic.
"""

import argparse
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import measure
from reid import models
from reid.models.derivatives import weight_gradient
from reid.training import cli, device

Layer = tuple[Tensor, Tensor, Tensor, tuple]


def layers(args: argparse.Namespace) -> list[Layer]:
    """dy, x, weight and the other arguments of every convolution, at a pass of images."""
    found: list[Layer] = []

    def keep(layer: nn.Conv2d, inputs: tuple[Tensor], y: Tensor) -> None:
        how = (layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups)
        found.append((torch.randn_like(y), inputs[0], layer.weight, how))

    model = models.create(args.arch, 751, seed=0).to(args.device, memory_format=torch.channels_last)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(keep)
    with torch.no_grad():
        model(torch.rand(args.batch_size, 3, args.height, args.width, device=args.device))
    return found


def library(dy: Tensor, x: Tensor, weight: Tensor, how: tuple) -> Tensor:
    return torch.ops.aten.convolution_backward(dy, x, weight, None, *how, [False, True, False])[1]


def setup(args: argparse.Namespace, kind: str) -> measure.Step:
    device.resolve(args.device)
    given = layers(args)
    return lambda: [KINDS[kind](*layer) for layer in given]


KINDS = {"literal": library, "ours": weight_gradient}


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.weight_gradient")
    parser.add_argument("--arch", choices=models.names(), default="resnet50", help="network")
    parser.add_argument("--batch_size", type=cli.positive_int, default=12, help="images")
    measure.add_options(parser, repeats=5)
    args = parser.parse_args()
    flops = sum(2 * dy.numel() * weight[0].numel() for dy, _, weight, _ in layers(args))
    kinds = {kind: partial(setup, args, kind) for kind in KINDS}
    measure.lines("weight_gradient", kinds, baseline="literal", work=measure.Work(flops), **measure.facts(args))


if __name__ == "__main__":
    cli.run(lambda _: main())
