"""Gradients by images, as attacks take them: with the first convolution of torch, and with ours (reid/models/stem.py).

    python -m benchmarks.image_gradient --arch resnet10 --height 80 --width 40 --batch_size 200

The plain kind differs in the first convolution alone.
"""

import argparse
from functools import partial

import torch
from torch import nn

from benchmarks import measure
from benchmarks.measure import PLAIN, Kind
from reid import models
from reid.models.stem import Stem
from reid.runtime import cli
from reid.runtime.device import resolve, set_up
from reid.runtime.seeds import generator


def gradient(args: argparse.Namespace, convolution: type[nn.Conv2d], precision: str = "fp32") -> measure.Step:
    compute = set_up(resolve(args.device, precision))
    victim = models.Victim(models.create(args.arch, 751, seed=0)).to(args.device)
    for layer in victim.modules():
        if type(layer) is Stem:
            layer.__class__ = convolution  # type: ignore[assignment]
    images = torch.rand(args.batch_size, 3, args.height, args.width, generator=generator(0)).to(args.device)
    images = images.contiguous(memory_format=torch.channels_last).requires_grad_()

    def step() -> None:
        with compute.autocast():
            features = victim(images)
        torch.autograd.grad(features.square().sum(), images)

    return step


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.image_gradient")
    measure.add_options(parser, batch_size=64, repeats=5)
    args = parser.parse_args()
    kinds = {PLAIN: partial(gradient, args, nn.Conv2d)}
    kinds |= {Kind("ours", each): partial(gradient, args, Stem, each) for each in measure.precisions(args.device)}
    job = measure.network_job("Gradient by images", args)
    measure.lines(job, kinds, once=[], threads=args.threads, repeats=args.repeats, device=args.device)


if __name__ == "__main__":
    cli.run(lambda _: main())
