"""How cost grows: ranking with the gallery, networks with batch and image size, and what several processes exchange.

    python -m benchmarks.scaling                # everything that two cores can show: some minutes, 4 GB
    python -m benchmarks.scaling ranking        # one subject: ranking, million, attack, extraction, ranks
    python -m benchmarks.scaling million        # a gallery that no law was fitted to: 10 GB

Every subject ends with its laws: sums of terms, none negative, that fit seconds and peak MB with the least relative
error. docs/scaling.md says what follows for larger machines. Galleries are random features around a centre for each
identity, which has IMAGES images and is seen by CAMERAS cameras.
"""

import argparse
import json
import os
import pickle
import socket
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
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
from reid.attacks.meta import Batch, meta_step
from reid.evaluation.ranking import BLOCK, CHUNK, rank
from reid.training import cli, distributed, job
from reid.training.seeds import generator

Line = dict[str, Any]
Terms = Mapping[str, Callable[[Line], float]]
IMAGES, CAMERAS, QUERIES = 20, 6, 200  # images per identity, cameras, queries of a run
GALLERIES = (10_000, 30_000, 100_000, 300_000)
LENGTHS = (128, 512, 1024)
ROWS = (13, 52)  # of a block: 13 is what a gallery of ten million leaves room for
LARGE = ((1_000_000, 256, QUERIES), (10_000_000, 64, 26))  # images, feature length, queries: less than 3 GB
SIZES = ((128, 64), (192, 96), (256, 128), (384, 192))
BATCHES = (4, 8, 16)
RANKS = (1, 2, 4)


def features(images: int, length: int, queries: int, device: str = "cpu") -> tuple[Tensor, ...]:
    """Query and gallery features, pids and camids, in the order that `rank` takes; the first identities ask."""
    draw = generator(0)
    gallery = torch.empty(images, length)
    for part in gallery.split(1000 * IMAGES):
        centres = torch.randn(ceil(len(part) / IMAGES), length, generator=draw)
        part.normal_(generator=draw).add_(centres.repeat_interleave(IMAGES, 0)[: len(part)])
    pids, camids = torch.arange(images) // IMAGES, torch.randint(CAMERAS, (images,), generator=draw)
    asking = torch.arange(queries) * IMAGES
    query = gallery[asking] + torch.randn(queries, length, generator=draw)
    return query.to(device), gallery.to(device), pids[asking], pids, camids[asking], camids


def ranked(images: int, length: int, queries: int, rows: int, device: str) -> measure.Step:
    given = features(images, length, queries, device)
    return lambda: rank(*given, chunk=rows)


def rows_of(images: int, queries: int) -> int:
    """The rows of distances that `rank` keeps at a time."""
    return min(CHUNK, BLOCK // images, queries)


def ranking(args: argparse.Namespace) -> list[Line]:
    """Against the gallery, the feature length, and the rows of a block."""
    points = [(n, 2048, QUERIES, rows_of(n, QUERIES)) for n in GALLERIES]
    points += [(100_000, length, QUERIES, QUERIES) for length in LENGTHS]
    points += [(100_000, 2048, QUERIES, rows) for rows in ROWS]
    points += [(n, length, queries, rows_of(n, queries)) for n, length, queries in LARGE]
    found = rankings(args, points)
    passes: Terms = {
        "Q G D": lambda x: x["queries"] * x["gallery"] * x["length"],
        "Q G": lambda x: x["queries"] * x["gallery"],
        "passes G D": lambda x: (ceil(x["queries"] / x["rows"]) + 2) * x["gallery"] * x["length"],
        "Q": lambda x: x["queries"],
    }
    memory: Terms = {"rows G": lambda x: x["rows"] * x["gallery"], "G": lambda x: x["gallery"], "1": lambda _: 1}
    growth = [line for line in found if line["length"] == 2048 and line["rows"] == QUERIES]
    exponent = np.polyfit(*(np.log([line[name] for line in growth]) for name in ("gallery", "seconds")), 1)[0]
    return [law(found, "seconds", passes, exponent_of_G=round(float(exponent), 3)), law(found, "peak_MB", memory)]


def million(args: argparse.Namespace) -> list[Line]:
    """A million images at full length, to compare with what the laws of `ranking` say."""
    rankings(args, [(1_000_000, 2048, QUERIES, rows_of(1_000_000, QUERIES))])
    return []


def rankings(args: argparse.Namespace, points: Sequence[tuple[int, int, int, int]]) -> list[Line]:
    found = []
    for images, length, queries, rows in points:
        setup = partial(ranked, images, length, queries, rows, args.device)
        work = measure.Work(flops=2.0 * queries * images * length)
        found += timed("ranking", setup, work, args, gallery=images, length=length, queries=queries, rows=rows)
    return found


def attack(args: argparse.Namespace) -> list[Line]:
    """Attack step, type 0, fp32: against batch (images per set) and image size."""
    points = [(n, 256, 128) for n in BATCHES] + [(8, *size) for size in SIZES if size != (256, 128)]
    return networks("attack step", attack_step.ours, attack_step.work, points, args)


def extract(args: argparse.Namespace) -> list[Line]:
    """Feature extraction, fp32: against image size and batch."""
    points = [(16, *size) for size in SIZES] + [(4, 256, 128)]

    def setup(options: argparse.Namespace, precision: str) -> measure.Step:
        return extraction.setup(options, f"ours, {precision}")

    return networks("extraction", setup, extraction.work, points, args)


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
        found += timed(kind, partial(setup, options, "fp32"), work(options), args, **size)
    terms: Terms = {
        "n H W": lambda x: x["batch_size"] * x["height"] * x["width"],
        "n": lambda x: x["batch_size"],
        "1": lambda _: 1,
    }
    return [law(found, "seconds", terms), law(found, "peak_MB", terms)]


def timed(kind: str, setup: measure.Setup, work: measure.Work, args: argparse.Namespace, **facts: Any) -> list[Line]:
    """One line of one kind."""
    options = {"threads": args.threads, "repeats": args.repeats, "device": args.device}
    return measure.lines("scaling", {kind: setup}, baseline=kind, work=work, **options, **facts)


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
    """Ranking and attack step in several processes of one thread: seconds, and what each gives to the others."""
    jobs = {
        "ranking, shared": (shared_ranking, {"gallery": 100_000, "length": 2048, "queries": QUERIES}),
        "attack step, shared": (shared_attack, {"batch_size": 16, "height": 128, "width": 64, "arch": "resnet18"}),
    }
    for kind, (setup, sizes) in jobs.items():
        for count in RANKS:
            line = {"benchmark": "scaling", "kind": kind, **sizes, "ranks": count}
            line |= together(partial(setup, **sizes), count, args.repeats)
            print(json.dumps(line | measure.machine(1)), flush=True)
    return []


def shared_ranking(gallery: int, length: int, queries: int) -> measure.Step:
    query, images, query_pids, pids, query_camids, camids = features(gallery, length, queries)
    own, pids, camids = (distributed.share(rows).clone() for rows in (images, pids, camids))
    return lambda: rank(query, own, query_pids, pids, query_camids, camids, sharded=True)


def shared_attack(batch_size: int, height: int, width: int, arch: str) -> measure.Step:
    size = {"batch_size": batch_size, "height": height, "width": width, "device": "cpu"}
    victim = models.as_victim(models.create(arch, 751, seed=0))
    noise = attacks.create(0, height=height, width=width)
    optimizer = MISGD(noise.step_groups(), lr=attack_step.LR)
    with torch.no_grad():
        sets = [
            Batch(distributed.share(images).contiguous(memory_format=torch.channels_last), pids, victim(images))
            for images, pids in attack_step.images_and_pids(argparse.Namespace(**size))
        ]
    return lambda: meta_step(noise, victim, *sets, optimizer)


def together(setup: measure.Setup, count: int, repeats: int) -> Line:
    """Median seconds of a step in `count` processes, the slowest one's; MB that each process gives to the others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        members = [pool.submit(member, setup, each, count, port, repeats) for each in range(count)]
        times, sent = zip(*(each.result() for each in members), strict=True)
    return {"seconds": round(statistics.median(map(max, zip(*times, strict=True))), 5), "given_MB": round(max(sent), 3)}


def member(setup: measure.Setup, rank: int, size: int, port: int, repeats: int) -> tuple[list[float], float]:
    """In a process of its own: seconds of the steps after the first, and the MB that one step gives to the others."""
    torch.set_num_threads(1)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ.update(where)
    job.start()
    step, given = setup(), [0]
    reduce, gather = dist.all_reduce, dist.all_gather_object

    def counted_reduce(tensor: Tensor) -> None:
        given[0] += tensor.nbytes
        reduce(tensor)

    def counted_gather(values: list, value: Any) -> None:
        given[0] += len(pickle.dumps(value))
        gather(values, value)

    dist.all_reduce, dist.all_gather_object = counted_reduce, counted_gather
    step()
    dist.all_reduce, dist.all_gather_object = reduce, gather
    seconds = []
    for _ in range(repeats):
        distributed.every(rank)  # all begin together
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    job.stop()
    return seconds, given[0] / measure.MEGABYTE


SUBJECTS = {"ranking": ranking, "million": million, "attack": attack, "extraction": extract, "ranks": ranks}


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.scaling")
    parser.add_argument("subject", nargs="?", choices=SUBJECTS, help="what to measure; None: all but million")
    parser.add_argument("--threads", type=cli.positive_int, default=os.cpu_count(), help="threads of one process")
    parser.add_argument("--repeats", type=cli.positive_int, default=2, help="timed steps of each point")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; ranks is measured on the CPU")
    args = parser.parse_args()
    for subject in [args.subject] if args.subject else [name for name in SUBJECTS if name != "million"]:
        for found in SUBJECTS[subject](args):
            print(
                json.dumps({"benchmark": "scaling", **found, **measure.machine(args.threads, args.device)}), flush=True
            )


if __name__ == "__main__":
    cli.run(lambda _: main())
