"""One gradient step of a defence: adversarial training, on two sets, and meta-learned by either order.

    python -m benchmarks.defense_step             # ResNet-50, 256 x 128, 8 + 4 images per set
    python -m benchmarks.defense_step --arch resnet10 --height 80 --width 40 --batch_size 32

The plain kind does what the released code does, at second order: the inner gradient keeps its graph, the weights are
copied into a moved model, and the sum of both losses goes backward through everything. The others are compared with it.
"""

import argparse
from functools import partial
from typing import NamedTuple

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from benchmarks import measure
from benchmarks.measure import PLAIN, Kind
from reid import attacks, models
from reid.runtime import cli
from reid.runtime.device import resolve, set_up
from reid.runtime.seeds import generator
from reid.training import ReidLoss
from reid.training.adversaries.universal import Pool
from reid.training.batches import Drawn, TrainingBatch, with_perturbed
from reid.training.inner import Inner
from reid.training.layers import differentiate_twice
from reid.training.losses import hard_triplet
from reid.training.network import TrainedNetwork, Weights
from reid.training.step import step_gradients

LR, DECAY = 2e-4, 5e-4


class Defence(NamedTuple):
    """The order of the derivative through the inner step (None: no look ahead), and what else differs."""

    order: str | None = None
    two_sets: bool = True
    recompute: bool = False


FIRST = "ours, first order"
KINDS = {
    "ours, adversarial": Defence(two_sets=False),
    "ours, mixed": Defence(),
    FIRST: Defence("first"),
    "ours, second order": Defence("second"),
    "ours, first order, checkpointing": Defence("first", recompute=True),
    "ours, second order, checkpointing": Defence("second", recompute=True),
}


def batches(args: argparse.Namespace) -> list[TrainingBatch]:
    """A batch of the source and one of the virtual set, half of each once more under attack."""
    adversary = Pool([attacks.create(0, height=args.height, width=args.width).randomise_(generator(0)).to(args.device)])
    clean = torch.rand(2, args.batch_size, 3, args.height, args.width, generator=generator(0)).to(args.device)
    labels = torch.arange(args.batch_size, device=args.device) // 4
    return [
        with_perturbed(Drawn((), images, labels, images), adversary, generator(0), bool(place))[0]
        for place, images in enumerate(clean)
    ]


def plain(args: argparse.Namespace) -> measure.Step:
    network = TrainedNetwork(models.create(args.arch, 751, seed=0), num_virtual=410).to(args.device)
    sets = batches(args)

    def loss_of(weights: Weights, batch: TrainingBatch) -> torch.Tensor:
        assert batch.perturbed is not None
        images = torch.cat([batch.clean, batch.perturbed])
        features, logits = functional_call(network, weights, (images, batch.virtual))
        return hard_triplet(features, batch.labels)[0] + cross_entropy(logits, batch.labels)

    def step() -> None:
        network.zero_grad()
        weights = network.weights()
        loss = loss_of(weights, sets[0])
        inner = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
        moved = {}
        for (name, weight), gradient in zip(weights.items(), inner, strict=True):
            moved[name] = weight.clone()
            if gradient is not None:
                gradient = gradient + DECAY * weight
                second = 0.001 * gradient * gradient + 1e-8
                moved[name] = moved[name] - LR / 0.1 * (0.1 * gradient) / (second.sqrt() / 0.001**0.5 + 1e-8)
        (loss + loss_of(moved, sets[1])).backward()

    return step


def ours(args: argparse.Namespace, defence: Defence, precision: str) -> measure.Step:
    compute = set_up(resolve(args.device, precision))
    model = models.create(args.arch, 751, seed=0)
    model.recompute_activations = defence.recompute
    network = TrainedNetwork(model, num_virtual=410).to(args.device).to(memory_format=torch.channels_last)
    reid_loss = ReidLoss(margin=0.5)
    source, virtual = batches(args)
    weights = network.weights()
    if defence.order == "second":
        differentiate_twice(network)

    def loss_of(weights: Weights, batch: TrainingBatch) -> torch.Tensor:
        with compute.autocast():
            features, logits = network.at(weights, batch.images, batch.virtual)
        return reid_loss(features, logits, batch.labels)[0]

    inner = None if defence.order is None else Inner(dict.fromkeys(weights, LR), DECAY, defence.order)
    second_set = virtual if defence.two_sets else None
    return lambda: step_gradients(loss_of, weights, source, second_set, inner)


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.defense_step")
    measure.add_options(parser, batch_size=8, repeats=3)
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="what to measure with the plain kind"
    )
    args = parser.parse_args()
    kinds = {PLAIN: partial(plain, args)}
    kinds |= {Kind(name): partial(ours, args, KINDS[name], "fp32") for name in args.kinds}
    if FIRST in args.kinds and "bf16" in measure.precisions(args.device):
        kinds[Kind(FIRST, "bf16")] = partial(ours, args, KINDS[FIRST], "bf16")
    job = measure.network_job("Defence step", args)
    measure.lines(job, kinds, once=[PLAIN], threads=args.threads, repeats=args.repeats, device=args.device)


if __name__ == "__main__":
    cli.run(lambda _: main())
