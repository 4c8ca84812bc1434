"""Approximate indices (FAISS) beside the exact ranking: time per query, true matches found, error of the scores.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.approximate                       # 100,000 images, 200 queries
    python -m benchmarks.approximate --gallery 300000

An index answers with the k nearest images, so matches further down have no rank: they count as never found. There is a
line for each index and effort (`nprobe`: lists looked into): milliseconds of one core per query, recall of the true
matches in other cameras among the first k, the share of the exact list that is found, mAP and rank-1 less the exact
ones. "exact list" is what cutting at k alone does. IVF-PQ takes over the lists of IVF-Flat, and so builds without them.
Features are clustered, people around outfits and images around people, in LATENT dimensions turned into --length.
"""

import json
import time
from collections.abc import Callable
from math import sqrt
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks import measure
from reid.evaluation.ranking import rank
from reid.runtime import cli

LATENT, OUTFITS, IMAGES, CAMERAS = 64, 300, 20, 6
SPREAD = {"outfit": 1.0, "identity": 0.7, "camera": 0.2, "image": 0.9}  # exact mAP near that of real models
K, TRUNCATIONS = 100, (20, 100, 1000)
NPROBE = (1, 8, 32, 128)
ITERATIONS, PER_LIST = 10, 64  # of k-means, and images that it sees per list
CODES = (64, 256)  # bytes per image of IVF-PQ


def features(images: int, length: int, queries: int) -> tuple[np.ndarray, ...]:
    """Query and gallery features, pids and camids, in the order that `rank` takes."""
    draw = np.random.default_rng(0)

    def normal(rows: int, columns: int = LATENT) -> np.ndarray:
        return draw.standard_normal((rows, columns), dtype=np.float32)

    identities = images // IMAGES
    centres = SPREAD["outfit"] * normal(OUTFITS)[draw.integers(OUTFITS, size=identities)]
    centres += SPREAD["identity"] * normal(identities)
    cameras, turn = SPREAD["camera"] * normal(CAMERAS), normal(LATENT, length) / np.float32(sqrt(length))

    def seen(pids: np.ndarray, camids: np.ndarray) -> np.ndarray:
        return (centres[pids] + cameras[camids] + SPREAD["image"] * normal(len(pids))) @ turn

    pids = np.arange(images) // IMAGES % identities
    camids = draw.integers(CAMERAS, size=images)
    asking = draw.choice(identities, queries, replace=False)
    from_camera = draw.integers(CAMERAS, size=queries)
    return seen(asking, from_camera), seen(pids, camids), asking, pids, from_camera, camids


def listed_scores(found: np.ndarray, given: tuple[np.ndarray, ...], k: int) -> dict[str, float]:
    """Recall, mAP and rank-1 of lists (Q, >= k) of gallery positions, -1 for none, by Market-1501's rules."""
    _, _, asking, pids, from_camera, camids = given
    recall, precision, first = [], [], []
    for row, pid, camera in zip(found, asking, from_camera, strict=True):
        row = row[row >= 0]
        kept = row[(pids[row] != pid) | (camids[row] != camera)][:k]
        places = np.flatnonzero(pids[kept] == pid)
        matches = np.count_nonzero((pids == pid) & (camids != camera))
        if matches:
            recall.append(len(places) / matches)
            precision.append((np.arange(1, len(places) + 1) / (places + 1)).sum() / matches)
            first.append(bool(len(places)) and places[0] == 0)
    return {"recall": float(np.mean(recall)), "mAP": float(np.mean(precision)), "rank1": float(np.mean(first))}


def timed(step: Callable) -> tuple[float, Any]:
    """Seconds of processor time, which do not count those of other programs, and the result."""
    began = time.process_time()
    result = step()
    return time.process_time() - began, result


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.approximate")
    parser.add_argument("--gallery", type=cli.positive_int, default=100_000, help="images")
    parser.add_argument("--length", type=cli.positive_int, default=2048, help="of features")
    parser.add_argument("--queries", type=cli.positive_int, default=200, help="queries")
    args = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    given = features(args.gallery, args.length, args.queries)
    query, gallery = given[:2]
    rank(*given)
    seconds, exact = timed(lambda: rank(*given))
    facts = {"gallery": args.gallery, "length": args.length, "queries": args.queries}
    about = {**measure.machine(1), "faiss": faiss.__version__}

    def show(kind: str, seconds: float, **values: float) -> None:
        line = {
            "benchmark": "approximate",
            "kind": kind,
            **facts,
            "ms_per_query": round(1e3 * seconds / args.queries, 3),
        }
        print(json.dumps(line | {name: round(value, 4) for name, value in values.items()} | about), flush=True)

    def show_lists(kind: str, seconds: float, found: np.ndarray, k: int, **values: float) -> None:
        scores = listed_scores(found, given, k)
        errors = {"mAP_error": scores["mAP"] - exact.mAP, "rank1_error": scores["rank1"] - exact.cmc["market1501"][0]}
        same = np.mean([len(np.intersect1d(a[:k], b[:k])) / k for a, b in zip(found, nearest, strict=True)])
        show(kind, seconds, k=k, recall=scores["recall"], same=float(same), **errors, **values)

    show("exact ranking, ours", seconds, mAP=exact.mAP, rank1=float(exact.cmc["market1501"][0]))
    flat = faiss.IndexFlatL2(args.length)
    flat.add(gallery)
    seconds, nearest = search(flat, query, max(TRUNCATIONS) + IMAGES)
    for k in TRUNCATIONS:
        show_lists("exact list", seconds, nearest, k)
    del flat
    lists = int(2 * sqrt(args.gallery))
    coarse = faiss.IndexFlatL2(args.length)
    indices = {"IVF-Flat": faiss.IndexIVFFlat(coarse, args.length, lists)}
    for size in CODES:
        indices[f"IVF-PQ, {size} bytes"] = faiss.IndexIVFPQ(coarse, args.length, lists, size, 8)
    for kind, index in indices.items():
        index.cp.niter, index.cp.max_points_per_centroid = ITERATIONS, PER_LIST
        if hasattr(index, "pq"):
            index.pq.cp.niter, index.pq.cp.max_points_per_centroid = ITERATIONS, PER_LIST
        sample = np.random.default_rng(0).choice(args.gallery, min(args.gallery, PER_LIST * lists), replace=False)
        built, _ = timed(lambda index=index, sample=sample: (index.train(gallery[sample]), index.add(gallery)))
        for nprobe in NPROBE:
            index.nprobe = nprobe
            seconds, found = search(index, query, K + IMAGES)  # same identity, same camera does not count
            show_lists(f"{kind}, nprobe {nprobe}", seconds, found, K, lists=lists, build_seconds=built)


def search(index: "faiss.Index", query: np.ndarray, wanted: int) -> tuple[float, np.ndarray]:
    """Seconds of the second search, and its lists of positions (Q, wanted)."""
    index.search(query, wanted)
    seconds, (_, found) = timed(lambda: index.search(query, wanted))
    return seconds, found


if __name__ == "__main__":
    cli.run(lambda _: main())
