"""One step of the meta attack: a P x K batch of the source and one of the virtual set, forward, backward, update.

    python -m benchmarks.attack_step                    # ResNet-50, 256 x 128, type 0, batches of 16
    python -m benchmarks.attack_step --batch_size 64

The plain kind does what the released code does: the victim's weights take gradients, clean features are computed at
every step, the first gradient keeps its graph and is computed again at the end, the colour table is gathered corner by
corner.
"""

import argparse
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import triplet_margin_loss

from benchmarks import measure
from benchmarks.measure import PLAIN, Kind
from reid import attacks, models
from reid.attacks import MISGD
from reid.attacks.universal.perturbations import NODES, Perturbation
from reid.attacks.universal.step import KnownImages, meta_step
from reid.runtime import cli
from reid.runtime.device import resolve
from reid.runtime.seeds import generator

LR = 0.8 / 255
CORNERS = torch.cartesian_prod(*3 * [torch.arange(2)])  # of a cell of the colour table


def plain(args: argparse.Namespace) -> measure.Step:
    model = models.create(args.arch, 751, seed=0).eval().to(args.device)
    noise = attacks.create(args.noise_type, height=args.height, width=args.width).to(args.device)
    parameters = dict(noise.named_parameters())
    buffers = {name: torch.zeros_like(p) for name, p in parameters.items()}
    sets = [(images, pids.to(args.device)) for images, pids in images_and_pids(args)]

    def perturb(x: Tensor) -> Tensor:
        for name, parameter in parameters.items():
            x = gathered(x, parameter) if name.endswith("xform_params") else x + parameter
        return x.clamp(0, 1)

    def loss_of(x: Tensor, pids: Tensor) -> Tensor:
        with torch.no_grad():
            clean = model(x)[0]
        return plain_objective(clean, model(perturb(x))[0], pids)

    def step() -> None:
        model.zero_grad()
        project(noise)
        loss = loss_of(*sets[0])
        ahead = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters.values(), ahead, strict=True):
                parameter.data = parameter - LR * gradient.sign()
        project(noise)
        (loss + loss_of(*sets[1])).backward()
        for name, parameter in parameters.items():
            assert parameter.grad is not None
            buffers[name].add_(parameter.grad / parameter.grad.norm(1))
            parameter.data = parameter - LR * buffers[name].sign()
            parameter.grad = None

    return step


def gathered(x: Tensor, table: Tensor) -> Tensor:
    """The colours of all eight corners of each pixel's cell, weighed and added one by one."""
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


def project(noise: Perturbation) -> None:
    """Into the budget, out of place: the graph of the step before still needs the old values."""
    for name, value in noise.projected({name: p.detach() for name, p in noise.named_parameters()}).items():
        noise.get_parameter(name).data = value


def plain_objective(clean: Tensor, perturbed: Tensor, pids: Tensor) -> Tensor:
    """The released objective, with a full sort for each extreme."""
    squares = clean.square().sum(1, keepdim=True)
    distances = (squares + squares.T - 2 * clean @ clean.T).clamp(min=1e-12).sqrt()
    same = (pids[:, None] == pids).float()
    negative = (distances - 1e5 * same).sort(dim=1, descending=True).indices[:, 0]
    positive = (distances - 1e5 * (1 - same)).sort(dim=1, descending=True).indices[:, 0]
    return 10 * triplet_margin_loss(perturbed, clean[negative], clean[positive], margin=0.5)


def ours(args: argparse.Namespace, precision: str) -> measure.Step:
    compute = resolve(args.device, precision)
    victim = models.Victim(models.create(args.arch, 751, seed=0)).to(args.device)
    noise = attacks.create(args.noise_type, height=args.height, width=args.width).to(args.device)
    optimizer = MISGD(noise.step_groups(), lr=LR)
    with torch.no_grad(), compute.autocast():
        source, virtual = (
            KnownImages(images.contiguous(memory_format=torch.channels_last), pids, victim(images).float())
            for images, pids in images_and_pids(args)
        )
    return lambda: meta_step(noise, victim, source, virtual, optimizer, autocast=compute.autocast)


def images_and_pids(args: argparse.Namespace) -> Iterator[tuple[Tensor, Tensor]]:
    for seed in range(2):
        images = torch.rand(args.batch_size, 3, args.height, args.width, generator=generator(seed))
        yield images.to(args.device), torch.arange(args.batch_size) // 4


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.attack_step")
    parser.add_argument("--noise_type", type=int, choices=(0, 1, 2), default=0, help="perturbation")
    measure.add_options(parser, batch_size=16, repeats=3)
    args = parser.parse_args()
    kinds = {PLAIN: partial(plain, args)}
    kinds |= {Kind("ours", each): partial(ours, args, each) for each in measure.precisions(args.device)}
    job = measure.network_job(f"Attack step, type {args.noise_type}", args)
    measure.lines(job, kinds, once=[PLAIN], threads=args.threads, repeats=args.repeats, device=args.device)


if __name__ == "__main__":
    cli.run(lambda _: main())
