"""mAP, mINP and the CMC curves market1501 and allshots of a query set, from features.

    python -m benchmarks.ranking                        # the size of Market-1501, and the matrix product alone
    python -m benchmarks.ranking --plain --queries 337  # a tenth of its queries, with the plain rendition
    python -m benchmarks.ranking --size msmt17
    python -m benchmarks.ranking --busy                 # while another program keeps one core busy

Compared with the matrix product of the features, which no exact version avoids, or with a plain rendition of the
released code, which takes minutes for every thousand queries.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from benchmarks import measure
from benchmarks.measure import OURS, PLAIN, Kind
from reid.evaluation.ranking import rank
from reid.runtime import cli, device
from reid.runtime.seeds import generator

# queries, gallery, length of features, identities, cameras
SIZES = {
    "market": (3368, 15913, 2048, 750, 6),
    "msmt17": (11659, 82161, 2048, 3060, 15),
    "small": (300, 2000, 256, 100, 6),
}
PRODUCT = Kind("matrix product alone")
TOPK = 100
Problem = tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def problem(size: str, num_query: int, noise: float) -> Problem:
    """Features around a random centre per identity, some far off and some close, with pids and camids."""
    _, num_gallery, length, identities, cameras = SIZES[size]
    random = generator(0)
    centres = torch.randn(identities, length, generator=random)

    def side(count: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        pids = torch.randint(identities, (count,), generator=random)
        camids = torch.randint(cameras, (count,), generator=random)
        spread = noise * (1 + 4 * torch.rand(count, 1, generator=random))
        features = torch.randn(count, length, generator=random).mul_(spread).add_(centres[pids])
        return torch.nn.functional.normalize(features), pids.numpy(), camids.numpy()

    query, query_pids, query_camids = side(num_query)
    gallery, gallery_pids, gallery_camids = side(num_gallery)
    return query, gallery, query_pids, gallery_pids, query_camids, gallery_camids


def distances(query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
    squares = query.square().sum(1, keepdim=True) + gallery.square().sum(1)
    return squares.addmm_(query, gallery.T, alpha=-2).numpy()


def plain(query: torch.Tensor, gallery: torch.Tensor, *ids: np.ndarray) -> None:
    """As the released code: sorts every gallery for each of the scores, and scores query by query in Python."""
    matrix = distances(query, gallery)
    for score in (precision, all_shots, first_shot):
        plain_score(score, matrix, *ids)


def plain_score(
    score: Callable,
    matrix: np.ndarray,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    query_camids: np.ndarray,
    gallery_camids: np.ndarray,
) -> float | np.ndarray:
    order = np.argsort(matrix, axis=1)
    matches = gallery_pids[order] == query_pids[:, None]
    scores = []
    for i in range(len(matrix)):
        valid = (gallery_pids[order[i]] != query_pids[i]) | (gallery_camids[order[i]] != query_camids[i])
        if matches[i, valid].any():
            scores.append(score(matches[i, valid]))
    return np.mean(scores, axis=0)


def precision(hits: np.ndarray) -> float:
    return (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()


def all_shots(hits: np.ndarray) -> np.ndarray:
    places = np.flatnonzero(hits)
    places -= np.arange(len(places))
    return (np.bincount(places[places < TOPK], minlength=TOPK) / len(places)).cumsum()


def first_shot(hits: np.ndarray) -> np.ndarray:
    return np.arange(TOPK) >= np.flatnonzero(hits)[0]


def product(query: torch.Tensor, gallery: torch.Tensor, *_: np.ndarray) -> None:
    """All inner products, in pieces for which the product is fast, nothing kept."""
    for rows in query.split(1280):
        for tile in gallery.split(512):
            torch.mm(rows, tile.T)


def setup(kind: Kind, size: str, num_query: int, noise: float) -> measure.Step:
    if kind == OURS:
        device.set_up(device.resolve("cpu"))  # as the scripts begin: freed memory is kept
    return partial(KINDS[kind], *problem(size, num_query, noise))


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Another program that keeps one core busy."""
    other = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    other.start()
    try:
        yield
    finally:
        other.kill()


def spin() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    while True:
        pass


KINDS: dict[Kind, Callable] = {PLAIN: plain, PRODUCT: product, OURS: partial(rank, topk=TOPK)}


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.ranking")
    parser.add_argument("--size", choices=SIZES, default="market", help="as many images as this dataset has")
    parser.add_argument("--queries", type=cli.positive_int, help="number of queries (default: all)")
    parser.add_argument("--noise", type=float, default=1.0, help="spread of the features of an identity")
    parser.add_argument("--threads", type=cli.positive_int, default=os.cpu_count(), help="threads")
    parser.add_argument("--repeats", type=cli.positive_int, default=5, help="timed turns; the plain kind has one")
    parser.add_argument("--plain", action="store_true", help="compare with the plain rendition, not the product alone")
    parser.add_argument("--busy", action="store_true", help="keep one core busy meanwhile")
    args = parser.parse_args()
    num_query, num_gallery, *_ = SIZES[args.size]
    num_query = args.queries or num_query
    baseline = PLAIN if args.plain else PRODUCT
    with busy_core() if args.busy else contextlib.nullcontext():
        measure.lines(
            f"Ranking, {num_query} x {num_gallery}" + (", one core busy" if args.busy else ""),
            {kind: partial(setup, kind, args.size, num_query, args.noise) for kind in (baseline, OURS)},
            baseline=baseline,
            once=[PLAIN],
            threads=args.threads,
            repeats=args.repeats,
        )


if __name__ == "__main__":
    cli.run(lambda _: main())
