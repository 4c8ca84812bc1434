"""Time and memory of one defence step: adversarial training, on two sets, and meta-learned by either order.

    python -m benchmarks.defense_step             # ResNet-50, 256 x 128, 8 + 4 images per set
    python -m benchmarks.defense_step --arch resnet10 --height 80 --width 40 --batch_size 32

Prints one JSON line per kind: median seconds of a step, peak resident memory above the start (each kind runs in a
process of its own), and both as ratios to "meta, first". Kinds take turns, so that a slow spell hits all alike.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import time
from multiprocessing.connection import Connection

import torch

from reid import attacks, models
from reid.defenses.attackers import Pool
from reid.defenses.batches import with_perturbed_half
from reid.defenses.meta import Inner, step_gradients
from reid.defenses.network import TrainedNetwork
from reid.defenses.recipe import Recipe
from reid.training import cli
from reid.training.seeds import generator

KINDS = {"adversarial": None, "mixed": None, "meta, first": "first", "meta, second": "second"}


def serve(kind: str, args: argparse.Namespace, pipe: Connection) -> None:
    """In a process of its own: take a step of `kind` at each message, answer with seconds and peak memory so far."""
    torch.set_num_threads(args.threads)
    network = TrainedNetwork(models.create(args.arch, 751, seed=0), num_virtual=410)
    network.to(memory_format=torch.channels_last)
    recipe = Recipe(85, 100, 2e-4, margin=0.5, schedule="late", new_layers=3)
    attacker = Pool([attacks.create(0, height=args.height, width=args.width).randomise_(generator(0))])
    clean = torch.rand(2, args.batch_size, 3, args.height, args.width, generator=generator(0))
    labels = torch.arange(args.batch_size) // 4
    source, virtual = (
        with_perturbed_half(images, labels, attacker, generator(0), bool(i))[0] for i, images in enumerate(clean)
    )
    weights = network.weights()
    order = KINDS[kind]
    inner = None if order is None else Inner(dict.fromkeys(weights, 2e-4), 5e-4, order)
    start = peak()
    while pipe.recv():
        began = time.perf_counter()
        step_gradients(
            lambda w, batch: recipe.loss_of(*network.at(w, batch.images, batch.virtual), batch.labels)[0],
            weights,
            source,
            None if kind == "adversarial" else virtual,
            inner,
        )
        pipe.send((time.perf_counter() - began, peak() - start))


def peak() -> float:
    """Peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = cli.OneLineParser(__doc__)
    parser.add_argument("--arch", choices=models.names(), default="resnet50", help="network")
    parser.add_argument("--height", type=cli.positive_int, default=256, help="image height")
    parser.add_argument("--width", type=cli.positive_int, default=128, help="image width")
    parser.add_argument("--batch_size", type=cli.positive_int, default=8, help="clean images per set")
    parser.add_argument("--threads", type=cli.positive_int, default=2, help="threads")
    parser.add_argument("--repeats", type=cli.positive_int, default=3, help="timed steps of each kind")
    args = parser.parse_args()
    measured: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    pipes = {}
    for kind in KINDS:
        pipes[kind], other = multiprocessing.Pipe()
        multiprocessing.get_context("spawn").Process(target=serve, args=(kind, args, other), daemon=True).start()
    for _ in range(args.repeats + 1):
        for kind, pipe in pipes.items():
            pipe.send(True)
            measured[kind].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    seconds = {kind: statistics.median(s for s, _ in steps[1:]) for kind, steps in measured.items()}
    memory = {kind: steps[-1][1] for kind, steps in measured.items()}
    for kind in KINDS:
        line = {
            "benchmark": "defense_step",
            "kind": kind,
            "seconds": round(seconds[kind], 3),
            "peak_MB": round(memory[kind]),
            "seconds_to_first_order": round(seconds[kind] / seconds["meta, first"], 2),
            "memory_to_first_order": round(memory[kind] / memory["meta, first"], 2),
            "arch": args.arch,
            "height": args.height,
            "width": args.width,
            "batch_size": args.batch_size,
            "threads": args.threads,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
