"""One step of the meta attack: a P x K batch of the source and one of the virtual set, forward, backward, update.

    python -m benchmarks.attack_step                    # ResNet-50, 256 x 128, type 0, batches of 16
    python -m benchmarks.attack_step --batch_size 64

The literal kind does what the released code does: the victim's weights take gradients, clean features are computed at
every step, the first gradient keeps its graph and is computed again at the end, the colour table is gathered corner by
corner. The floor is the arithmetic of one forward pass and one gradient with respect to the images, for both sets.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import triplet_margin_loss

from benchmarks import measure
from benchmarks.colour import gathered
from reid import attacks, models
from reid.attacks import MISGD
from reid.attacks.universal.perturbations import Perturbation
from reid.attacks.universal.step import KnownImages, meta_step
from reid.runtime import cli
from reid.runtime.device import resolve
from reid.runtime.seeds import generator

LR = 0.8 / 255


def literal(args: argparse.Namespace) -> measure.Step:
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
        return literal_objective(clean, model(perturb(x))[0], pids)

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
            buffers[name].add_(parameter.grad / parameter.grad.norm(1))
            parameter.data = parameter - LR * buffers[name].sign()
            parameter.grad = None

    return step


def project(noise: Perturbation) -> None:
    """Into the budget, out of place: the graph of the step before still needs the old values."""
    for name, value in noise.projected({name: p.detach() for name, p in noise.named_parameters()}).items():
        noise.get_parameter(name).data = value


def literal_objective(clean: Tensor, perturbed: Tensor, pids: Tensor) -> Tensor:
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
        batches = [
            KnownImages(images.contiguous(memory_format=torch.channels_last), pids, victim(images).float())
            for images, pids in images_and_pids(args)
        ]
    return lambda: meta_step(noise, victim, *batches, optimizer, autocast=compute.autocast)


def images_and_pids(args: argparse.Namespace) -> Iterator[tuple[Tensor, Tensor]]:
    for seed in range(2):
        images = torch.rand(args.batch_size, 3, args.height, args.width, generator=generator(seed))
        yield images.to(args.device), torch.arange(args.batch_size) // 4


def work(args: argparse.Namespace) -> measure.Work:
    """One forward pass and one gradient with respect to the images of both sets."""
    victim = models.Victim(models.create(args.arch, 751, seed=0))
    image = torch.rand(1, 3, args.height, args.width, requires_grad=True)
    flops = measure.counted(lambda: victim(image).sum().backward())
    return measure.Work(flops=2 * args.batch_size * flops)


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.attack_step")
    parser.add_argument("--arch", choices=models.names(), default="resnet50", help="network")
    parser.add_argument("--noise_type", type=int, choices=(0, 1, 2), default=0, help="perturbation")
    parser.add_argument("--batch_size", type=cli.positive_int, default=16, help="images per set")
    measure.add_options(parser, repeats=3)
    args = parser.parse_args()
    kinds: dict[str, Callable[[], measure.Step]] = {
        "literal": partial(literal, args),
        "ours, fp32": partial(ours, args, "fp32"),
    }
    if args.bf16:
        kinds["ours, bf16"] = partial(ours, args, "bf16")
    measure.lines("attack_step", kinds, baseline="literal", once=["literal"], work=work(args), **measure.facts(args))


if __name__ == "__main__":
    cli.run(lambda _: main())
