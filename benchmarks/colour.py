"""The colour table: trilinear interpolation of every pixel, forward and backward.

python -m benchmarks.colour                      # 64 images of 256 x 128: forward
python -m benchmarks.colour --backward table     # and backward to the table, as an attack needs it
python -m benchmarks.colour --backward both      # and to the images
"""

import argparse
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from benchmarks import measure
from reid.attacks.threat import Threat
from reid.attacks.universal.perturbations import NODES, ColorLUT
from reid.runtime import cli
from reid.runtime.seeds import generator

CORNERS = torch.cartesian_prod(*[torch.arange(2)] * 3)


def gathered(x: Tensor, table: Tensor) -> Tensor:
    """As the released code: the colours of all eight corners of each pixel's cell, weighed and added one by one."""
    position = x.permute(0, 2, 3, 1) * (NODES - 1)
    low = position.detach().floor().clamp(0, NODES - 2)
    share = position - low
    low = low.long()
    mixed = torch.zeros_like(position)
    for corner in CORNERS.to(x.device):
        r, g, b = (low + corner).unbind(-1)
        weight = torch.where(corner.bool(), share, 1 - share).prod(-1, keepdim=True)
        mixed = mixed + weight * table[0, r, g, b]
    return mixed.permute(0, 3, 1, 2).clamp(0, 1)


def sampled(x: Tensor, table: Tensor) -> Tensor:
    """grid_sample in its plain form: one batch entry, all images along its depth, so one thread."""
    colours = (2 * x - 1).flip(1).permute(0, 2, 3, 1)[None]
    return grid_sample(table.permute(0, 4, 1, 2, 3), colours, align_corners=True)[0].transpose(0, 1).clamp(0, 1)


def ours(noise: ColorLUT, x: Tensor, _: Tensor) -> Tensor:
    return noise(x)


def setup(kind: str, device: str, batch_size: int, height: int, width: int, backward: str) -> measure.Step:
    noise = ColorLUT(Threat(8 / 255, 0.0)).randomise_(generator(0)).to(device)
    images, weight = torch.rand(2, batch_size, 3, height, width, generator=generator(1)).to(device)
    images = images.requires_grad_(backward == "both")
    table = noise.xform["xform_params"].requires_grad_(backward != "none")
    transform = {**LITERAL, "ours": partial(ours, noise)}[kind]

    def step() -> None:
        changed = transform(images, table)
        if backward != "none":
            torch.autograd.grad(changed, [table, images] if backward == "both" else table, weight)

    return step


LITERAL = {"literal": gathered, "grid_sample, one entry": sampled}


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.colour")
    parser.add_argument("--backward", choices=("none", "table", "both"), default="table", help="gradients to compute")
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images")
    parser.add_argument("--height", type=cli.positive_int, default=256, help="image height")
    parser.add_argument("--width", type=cli.positive_int, default=128, help="image width")
    parser.add_argument("--threads", type=cli.positive_int, default=2, help="threads")
    parser.add_argument("--repeats", type=cli.positive_int, default=5, help="timed turns")
    parser.add_argument("--device", type=measure.usable, default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    job = {name: getattr(args, name) for name in ("batch_size", "height", "width", "backward")}
    measure.lines(
        "colour",
        {kind: partial(setup, kind, args.device, **job) for kind in (*LITERAL, "ours")},
        baseline="literal",
        work=measure.Work(bytes=moved(args)),
        threads=args.threads,
        repeats=args.repeats,
        device=args.device,
        **job,
    )


def moved(args: argparse.Namespace) -> int:
    """Bytes: images in and out, the same for gradients."""
    images = args.batch_size * 3 * args.height * args.width * 4
    return images * {"none": 2, "table": 4, "both": 5}[args.backward]


if __name__ == "__main__":
    cli.run(main)
