"""mAP, mINP and the three CMC curves of a query set, from features.

python -m benchmarks.ranking                        # the size of Market-1501
python -m benchmarks.ranking --size msmt17          # a tenth of the queries of MSMT17; all: --queries 11659
python -m benchmarks.ranking --noise 2              # features as bad as under an attack

Besides the literal version, the matrix product of the features alone, which no exact version avoids, and peers where
they are installed (benchmarks/requirements.txt); fast-reid gives mAP, mINP and the curve of market1501, torchreid mAP
and that curve. Their extension and file are loaded without their packages, which want far more than ranking does.
"""

import importlib.util
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import measure
TILE = 512
from reid.evaluation.ranking import block_rows, rank
from reid.runtime import cli, device
from reid.runtime.seeds import generator

# queries, queries by default, gallery, length of features, identities, cameras
SIZES = {
    "market": (3368, 3368, 15913, 2048, 750, 6),
    "msmt17": (11659, 1166, 82161, 2048, 3060, 15),
    "small": (300, 300, 2000, 256, 100, 6),
}
TOPK, REPEATS = 100, 10
Problem = tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def problem(size: str, num_query: int, noise: float) -> Problem:
    """Features around a random centre per identity, some far off and some close, with pids and camids."""
    _, _, num_gallery, length, identities, cameras = SIZES[size]
    random = generator(0)
    centres = torch.randn(identities, length, generator=random)
    features, pids, camids = [], [], []
    for count in (num_query, num_gallery):
        pids.append(torch.randint(identities, (count,), generator=random))
        camids.append(torch.randint(cameras, (count,), generator=random).numpy())
        spread = noise * (1 + 4 * torch.rand(count, 1, generator=random))
        side = torch.randn(count, length, generator=random).mul_(spread)
        features.append(torch.nn.functional.normalize(side.add_(centres[pids[-1]])))
    return *features, *(ids.numpy() for ids in pids), *camids


def distances(query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
    squares = query.square().sum(1, keepdim=True) + gallery.square().sum(1)
    return squares.addmm_(query, gallery.T, alpha=-2).numpy()


def literal(query, gallery, query_pids, gallery_pids, query_camids, gallery_camids) -> None:
    """As the released code: sorts every gallery for each of the four scores, and scores query by query in Python."""
    matrix = distances(query, gallery)
    ids = query_pids, gallery_pids, query_camids, gallery_camids
    literal_mean_ap(matrix, *ids)
    literal_cmc(matrix, *ids, separate_cameras=True, single_shot=True, first_match=False)
    literal_cmc(matrix, *ids, separate_cameras=False, single_shot=False, first_match=False)
    literal_cmc(matrix, *ids, separate_cameras=False, single_shot=False, first_match=True)


def literal_mean_ap(matrix, query_pids, gallery_pids, query_camids, gallery_camids) -> float:
    order = np.argsort(matrix, axis=1)
    matches = gallery_pids[order] == query_pids[:, None]
    found = []
    for i in range(len(matrix)):
        valid = (gallery_pids[order[i]] != query_pids[i]) | (gallery_camids[order[i]] != query_camids[i])
        hits = matches[i, valid]
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            found.append(precision[hits].mean())
    return float(np.mean(found))


def literal_cmc(
    matrix, query_pids, gallery_pids, query_camids, gallery_camids, separate_cameras, single_shot, first_match
):
    order = np.argsort(matrix, axis=1)
    matches = gallery_pids[order] == query_pids[:, None]
    random = np.random.default_rng(0)
    hits, valid_queries = np.zeros(TOPK), 0
    for i in range(len(matrix)):
        valid = (gallery_pids[order[i]] != query_pids[i]) | (gallery_camids[order[i]] != query_camids[i])
        if separate_cameras:
            valid &= gallery_camids[order[i]] != query_camids[i]
        if not matches[i, valid].any():
            continue
        valid_queries += 1
        places_of = defaultdict(list)
        if single_shot:
            for place in np.flatnonzero(valid):
                places_of[gallery_pids[order[i, place]]].append(place)
        repeats = REPEATS if single_shot else 1
        for _ in range(repeats):
            drawn = valid
            if single_shot:
                drawn = np.zeros(len(valid), dtype=bool)
                for places in places_of.values():
                    drawn[random.choice(places)] = True
            at = np.flatnonzero(matches[i, drawn])
            for before, place in enumerate(at):
                if place - before >= TOPK:
                    break
                hits[place - before] += 1 if first_match else 1 / (len(at) * repeats)
                if first_match:
                    break
    return hits.cumsum() / valid_queries


def product(query: torch.Tensor, gallery: torch.Tensor, *_: np.ndarray) -> None:
    """All inner products, in pieces as large as ours, nothing kept."""
    for rows in query.split(block_rows(len(query), len(gallery))):
        for tile in gallery.split(TILE):
            torch.mm(rows, tile.T)


def fastreid(evaluate: Callable, query, gallery, *ids) -> None:
    evaluate(distances(query, gallery), *ids, TOPK, False)


def torchreid(evaluate: Callable, query, gallery, *ids) -> None:
    evaluate(distances(query, gallery), *ids, TOPK)


def peer_module(package: str, pattern: str) -> types.ModuleType | None:
    """A module of an installed package, from its file alone; None, and a line that says so, where there is none."""
    found = importlib.util.find_spec(package)
    files = sorted(Path(found.submodule_search_locations[0]).glob(pattern)) if found else []
    if not files:
        print(f"{package}: no {pattern}, so it is left out; see benchmarks/requirements.txt", file=sys.stderr)
        return None
    spec = importlib.util.spec_from_file_location(files[0].name.partition(".")[0], files[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def setup(kind: str, size: str, num_query: int, noise: float) -> measure.Step:
    job = KINDS[kind]
    if kind.startswith("ours"):
        device.set_up(device.resolve("cpu"))  # as the scripts begin: freed memory is kept
    if kind in PEERS:
        job = partial(job, getattr(peer_module(*PEERS[kind][:2]), PEERS[kind][2]))
    return partial(job, *problem(size, num_query, noise))


KINDS = {
    "literal": literal,
    "matrix product alone": product,
    "fast-reid, Cython": fastreid,
    "torchreid, Python": torchreid,
    "ours": partial(rank, topk=TOPK),
    "ours, 10 drawn galleries": partial(rank, topk=TOPK, cuhk03_repeats=REPEATS),
}
PEERS = {
    "fast-reid, Cython": ("fastreid", "evaluation/rank_cylib/rank_cy.*so", "evaluate_cy"),
    "torchreid, Python": ("torchreid", "reid/metrics/rank.py", "eval_market1501"),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.ranking")
    parser.add_argument("--size", choices=SIZES, default="market", help="as many images as this dataset has")
    parser.add_argument("--queries", type=cli.positive_int, help="number of queries (default: all, of msmt17 a tenth)")
    parser.add_argument("--noise", type=float, default=1.0, help="spread of the features of an identity")
    parser.add_argument("--threads", type=cli.positive_int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=cli.positive_int, default=5, help="timed turns; the slow kinds have one")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="what to measure")
    args = parser.parse_args(argv)
    _, usual, num_gallery, length, _, _ = SIZES[args.size]
    num_query = args.queries or usual
    kinds = [kind for kind in args.kinds if kind not in PEERS or peer_module(*PEERS[kind][:2])]
    measure.lines(
        "ranking",
        {kind: partial(setup, kind, args.size, num_query, args.noise) for kind in kinds},
        baseline=kinds[0],
        work=measure.Work(2 * num_query * num_gallery * length, 4 * (num_query + num_gallery) * length),
        threads=args.threads,
        repeats=args.repeats,
        once={"literal", "torchreid, Python"} if args.size != "small" else set(),
        size=args.size,
        queries=num_query,
        gallery=num_gallery,
        noise=args.noise,
    )


if __name__ == "__main__":
    cli.run(main)
