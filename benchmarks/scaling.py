"""How cost grows: ranking with the gallery, networks with batch and image size, and what several processes exchange.

    python -m benchmarks.scaling                # everything that two cores can show: some minutes, 4 GB
    python -m benchmarks.scaling ranking        # one subject: ranking, million, attack, extraction, ranks
    python -m benchmarks.scaling million        # a gallery that no law was fitted to: 10 GB

Every point runs in processes of its own. On a CPU it has one thread and its cost is core seconds, the processor time of
that thread, which neighbours on a shared machine disturb least; on a GPU it is seconds. Subjects end with their laws:
sums of terms, none negative, that fit the cost (and the ranking's peak memory) with the least relative error.
benchmarks/memory_plan.py counts the memory of networks; docs/scaling.md says what follows for larger machines.
Galleries are random features around a centre for each identity, which has IMAGES images and is seen by CAMERAS cameras.
"""

import argparse
import contextlib
import json
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from math import ceil
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from scipy.optimize import nnls
from torch import Tensor

from benchmarks import attack_step, extraction, measure
from reid import attacks, models
from reid.attacks import MISGD
from reid.attacks.universal.step import KnownImages, meta_step
from reid.evaluation.ranking import block_rows, rank
from reid.runtime import cli, distributed, job
from reid.runtime.seeds import generator

Line = dict[str, Any]
Terms = Mapping[str, Callable[[Line], float]]
IMAGES, CAMERAS, QUERIES = 20, 6, 200  # images per identity, cameras, queries of a run
GALLERIES = (10_000, 30_000, 100_000, 300_000)
LENGTHS = (128, 512, 1024)
ROWS = (13, 52)  # of a block: 13 is what a gallery of ten million leaves room for
LARGE = ((1_000_000, 256, QUERIES), (10_000_000, 64, 26))  # images, feature length, queries
SIZES = ((128, 64), (192, 96), (256, 128), (384, 192))
BATCHES = (8, 12, 16)
RANKS = (1, 2, 4)
COST = {"cpu": "core_seconds", "cud": "seconds"}  # by the beginning of the device's name


def features(images: int, length: int, queries: int, device: str = "cpu") -> tuple[Tensor, ...]:
    """Query and gallery features, pids and camids, in the order that `rank` takes; the first identities ask."""
    draw = generator(0)
    gallery = torch.empty(images, length)
    for part in gallery.split(100 * IMAGES):
        centres = torch.randn(ceil(len(part) / IMAGES), length, generator=draw)
        part.normal_(generator=draw).add_(centres.repeat_interleave(IMAGES, 0)[: len(part)])
    pids, camids = torch.arange(images) // IMAGES, torch.randint(CAMERAS, (images,), generator=draw)
    asking = torch.arange(queries) * IMAGES
    query = gallery[asking] + torch.randn(queries, length, generator=draw)
    return query.to(device), gallery.to(device), pids[asking], pids, camids[asking], camids


def rows_of(queries: int, images: int) -> int:
    return block_rows(queries, images, torch.device("cpu"))


def ranked(images: int, length: int, queries: int, rows: int, device: str) -> measure.Step:
    given = features(images, length, queries, device)
    return lambda: rank(*given, chunk=rows)


def ranking(args: argparse.Namespace) -> list[Line]:
    """Against the gallery, the feature length, and the rows of a block."""
    points = [(n, 2048, QUERIES, rows_of(QUERIES, n)) for n in GALLERIES]
    points += [(100_000, length, QUERIES, QUERIES) for length in LENGTHS]
    points += [(100_000, 2048, QUERIES, rows) for rows in ROWS]
    points += [(n, length, queries, rows_of(queries, n)) for n, length, queries in LARGE]
    found = rankings(args, points)
    passes: Terms = {
        "Q G D": lambda x: x["queries"] * x["gallery"] * x["length"],
        "Q G": lambda x: x["queries"] * x["gallery"],
        "passes G D": lambda x: (ceil(x["queries"] / x["rows"]) + 2) * x["gallery"] * x["length"],
        "G": lambda x: x["gallery"],
    }
    memory: Terms = {"rows G": lambda x: x["rows"] * x["gallery"], "G": lambda x: x["gallery"], "1": lambda _: 1}
    growth = [line for line in found if line["length"] == 2048 and line["rows"] == QUERIES]
    cost = COST[args.device[:3]]
    exponent = np.polyfit(*(np.log([line[name] for line in growth]) for name in ("gallery", cost)), 1)[0]
    return [law(found, cost, passes, exponent_of_G=round(float(exponent), 3)), law(found, "peak_MB", memory)]


def million(args: argparse.Namespace) -> list[Line]:
    """A million images at full length, to compare with what the laws of `ranking` say."""
    rankings(args, [(1_000_000, 2048, QUERIES, rows_of(QUERIES, 1_000_000))])
    return []


def rankings(args: argparse.Namespace, points: Sequence[tuple[int, int, int, int]]) -> list[Line]:
    found = []
    for images, length, queries, rows in points:
        setup = partial(ranked, images, length, queries, rows, args.device)
        found.append(show("ranking", setup, args, gallery=images, length=length, queries=queries, rows=rows))
    return found


def attack(args: argparse.Namespace) -> list[Line]:
    """Attack step, type 0, fp32: against batch (images per set) and image size."""
    points = [(n, 256, 128) for n in BATCHES] + [(8, *size) for size in SIZES if size != (256, 128)]
    return networks("attack step", attacker, attack_step.work, points, args)


def attacker(options: argparse.Namespace, kind: str) -> measure.Step:
    return attack_step.ours(options, kind.removeprefix("ours, "))


def extract(args: argparse.Namespace) -> list[Line]:
    """Feature extraction, fp32: against image size and batch."""
    points = [(16, *size) for size in SIZES] + [(4, 256, 128)]
    return networks("extraction", extraction.setup, extraction.work, points, args)


def networks(
    kind: str,
    setup: Callable[[argparse.Namespace, str], measure.Step],
    work: Callable[[argparse.Namespace], measure.Work],
    points: Sequence[tuple[int, int, int]],
    args: argparse.Namespace,
) -> list[Line]:
    found = []
    for batch, height, width in points:
        size = {"batch_size": batch, "height": height, "width": width, "arch": "resnet50"}
        options = argparse.Namespace(**size, noise_type=0, device=args.device)
        found.append(
            show(kind, partial(setup, options, "ours, fp32"), args, **size, gflop=round(work(options).flops / 1e9, 1))
        )
    terms: Terms = {
        "n H W": lambda x: x["batch_size"] * x["height"] * x["width"],
        "n": lambda x: x["batch_size"],
        "1": lambda _: 1,
    }
    return [law(found, COST[args.device[:3]], terms)]


def law(found: Sequence[Line], of: str, terms: Terms, **facts: Any) -> Line:
    """Coefficients >= 0 that fit a field of the lines with the least relative error, squared and summed."""
    measured = np.array([line[of] for line in found])
    values = np.array([[term(line) for term in terms.values()] for line in found])
    scale = values.max(axis=0)
    coefficients = nnls(values / scale / measured[:, None], np.ones(len(found)))[0] / scale
    error = float(np.abs(values @ coefficients / measured - 1).max())
    words = " + ".join(f"{c:.3g} {name}" for name, c in zip(terms, coefficients, strict=True) if c)
    return {"kind": f"law, {found[0]['kind']}", "law": f"{of} = {words}", "largest_error": round(error, 3), **facts}


def ranks(args: argparse.Namespace) -> list[Line]:
    """Ranking and attack step in several processes, on the CPU: what each does, and what it gives to the others."""
    sizes: Line = {"gallery": 100_000, "length": 2048, "queries": QUERIES}
    for count in RANKS:
        show("ranking, shared", partial(shared_ranking, **sizes), args, count, **sizes)
    sizes = {"batch_size": 16, "height": 256, "width": 128, "arch": "resnet18"}
    for count in RANKS:
        show("attack step, shared", partial(shared_attack, **sizes), args, count, **sizes)
    return []


def shared_ranking(gallery: int, length: int, queries: int) -> measure.Step:
    query, images, query_pids, pids, query_camids, camids = features(gallery, length, queries)
    own, pids, camids = (distributed.share(rows).clone() for rows in (images, pids, camids))
    return lambda: rank(query, own, query_pids, pids, query_camids, camids, sharded=True)


def shared_attack(batch_size: int, height: int, width: int, arch: str) -> measure.Step:
    size = {"batch_size": batch_size, "height": height, "width": width, "device": "cpu"}
    victim = models.Victim(models.create(arch, 751, seed=0))
    noise = attacks.create(0, height=height, width=width)
    optimizer = MISGD(noise.step_groups(), lr=attack_step.LR)
    with torch.no_grad():
        sets = [
            KnownImages(distributed.share(images).contiguous(memory_format=torch.channels_last), pids, victim(images))
            for images, pids in attack_step.images_and_pids(argparse.Namespace(**size))
        ]
    return lambda: meta_step(noise, victim, *sets, optimizer)


def show(kind: str, setup: measure.Setup, args: argparse.Namespace, ranks: int = 1, **facts: Any) -> Line:
    """Measure a job in `ranks` processes and print its line: medians over the steps, of the process that needs most.

    The first step counts for the peak alone: the later ones find memory that it freed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ProcessPoolExecutor(ranks, mp_context=get_context("spawn")) as pool:
        members = [pool.submit(member, setup, each, ranks, port, args) for each in range(ranks)]
        found = np.max([each.result() for each in members], axis=0)
    seconds, core_seconds, _, given = np.median(found[1:], axis=0).tolist()
    line = {"benchmark": "scaling", "kind": kind, **facts}
    line |= {"ranks": ranks, "given_MB": round(given, 3)} if ranks > 1 else {}
    line |= {
        "seconds": round(seconds, 5),
        "core_seconds": round(core_seconds, 5),
        "peak_MB": round(float(found[:, 2].max()), 1),
    }
    print(json.dumps(line | measure.machine(1, args.device)), flush=True)
    return line


def member(setup: measure.Setup, rank: int, size: int, port: int, args: argparse.Namespace) -> list[tuple]:
    """In a process of its own: seconds, core seconds, MB above those of the start, and MB given to others, by step."""
    torch.set_num_threads(1)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ.update(where)
    job.start()
    step, steps = setup(), []
    with given() as sent:
        for _ in range(args.repeats + 1):
            distributed.every(rank)  # all begin together
            sent[0], before, core = 0, measure._start_peak(args.device), time.process_time()
            seconds = measure._timed(step, args.device)
            core, peak = time.process_time() - core, measure._peak(args.device) - before
            steps.append((seconds, core, peak / measure.MEGABYTE, sent[0] / measure.MEGABYTE))
    job.stop()
    return steps


@contextlib.contextmanager
def given() -> Iterator[list[int]]:
    """Counts the bytes that this process gives to collectives."""
    sent, reduce, gather = [0], dist.all_reduce, dist.all_gather_object

    def counted_reduce(tensor: Tensor) -> None:
        sent[0] += tensor.nbytes
        reduce(tensor)

    def counted_gather(values: list, value: Any) -> None:
        sent[0] += len(pickle.dumps(value))
        gather(values, value)

    dist.all_reduce, dist.all_gather_object = counted_reduce, counted_gather
    try:
        yield sent
    finally:
        dist.all_reduce, dist.all_gather_object = reduce, gather


SUBJECTS = {"ranking": ranking, "million": million, "attack": attack, "extraction": extract, "ranks": ranks}


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.scaling")
    parser.add_argument("subject", nargs="?", choices=SUBJECTS, help="what to measure; None: all but million")
    parser.add_argument("--repeats", type=cli.positive_int, default=2, help="timed steps of each point")
    parser.add_argument(
        "--device", type=measure.usable, default="cpu", help="cpu or cuda; ranks is measured on the CPU"
    )
    args = parser.parse_args()
    for subject in [args.subject] if args.subject else [name for name in SUBJECTS if name != "million"]:
        for found in SUBJECTS[subject](args):
            print(json.dumps({"benchmark": "scaling", **found, **measure.machine(1, args.device)}), flush=True)


if __name__ == "__main__":
    cli.run(lambda _: main())
