"""Features of images from a trained network, as evaluation extracts them: batches of 64, no gradient.

    python -m benchmarks.extraction             # ResNet-50, 256 x 128

The literal kind is the network as it is trained, its head included, in eval mode. The floor is the arithmetic of the
forward pass up to the features.
"""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from benchmarks import measure
from reid import models
from reid.runtime import cli
from reid.runtime.device import resolve, set_up
from reid.runtime.seeds import generator


def setup(args: argparse.Namespace, kind: str) -> measure.Step:
    model = models.create(args.arch, 751, seed=0).eval().to(args.device)
    images = torch.rand(args.batch_size, 3, args.height, args.width, generator=generator(0)).to(args.device)
    context: Callable[[], AbstractContextManager] = nullcontext
    if kind != "literal":
        model = models.Victim(model)
        images = images.contiguous(memory_format=torch.channels_last)
        context = set_up(resolve(args.device, "bf16" if kind.endswith("bf16") else "fp32")).autocast

    def step() -> None:
        with torch.no_grad(), context():
            model(images)

    return step


def work(args: argparse.Namespace) -> measure.Work:
    """One forward pass to the features."""
    victim = models.Victim(models.create(args.arch, 751, seed=0))
    image = torch.rand(1, 3, args.height, args.width)
    return measure.Work(flops=args.batch_size * measure.counted(lambda: victim(image)))


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.extraction")
    parser.add_argument("--arch", choices=models.names(), default="resnet50", help="network")
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per batch")
    measure.add_options(parser, repeats=5)
    args = parser.parse_args()
    kinds = ["literal", "ours, fp32"] + (["ours, bf16"] if args.bf16 else [])
    setups = {kind: partial(setup, args, kind) for kind in kinds}
    measure.lines("extraction", setups, baseline="literal", work=work(args), **measure.facts(args))


if __name__ == "__main__":
    cli.run(lambda _: main())
