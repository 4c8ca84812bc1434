"""Features of images from a trained network, as evaluation extracts them: batches of 64, no gradient.

    python -m benchmarks.extraction             # ResNet-50, 256 x 128

The plain kind is the network as it is trained, its head included, in eval mode.
"""

import argparse
from functools import partial

import torch

from benchmarks import measure
from benchmarks.measure import PLAIN, Kind
from reid import models
from reid.runtime import cli
from reid.runtime.device import resolve, set_up
from reid.runtime.seeds import generator


def images_of(args: argparse.Namespace) -> torch.Tensor:
    return torch.rand(args.batch_size, 3, args.height, args.width, generator=generator(0)).to(args.device)


def plain(args: argparse.Namespace) -> measure.Step:
    model = models.create(args.arch, 751, seed=0).eval().to(args.device)
    images = images_of(args)

    def step() -> None:
        with torch.no_grad():
            model(images)

    return step


def ours(args: argparse.Namespace, precision: str) -> measure.Step:
    compute = set_up(resolve(args.device, precision))
    victim = models.Victim(models.create(args.arch, 751, seed=0)).to(args.device)
    images = images_of(args).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.no_grad(), compute.autocast():
            victim(images)

    return step


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.extraction")
    measure.add_options(parser, batch_size=64, repeats=3)
    args = parser.parse_args()
    kinds = {PLAIN: partial(plain, args)}
    kinds |= {Kind("ours", each): partial(ours, args, each) for each in measure.precisions(args.device)}
    job = measure.network_job("Feature extraction", args)
    measure.lines(job, kinds, once=[PLAIN], threads=args.threads, repeats=args.repeats, device=args.device)


if __name__ == "__main__":
    cli.run(lambda _: main())
