"""k-reciprocal re-ranking: distances of all queries from the whole gallery, from features.

python -m benchmarks.rerank                                  # the size of Market-1501; the literal version takes 10 GB
python -m benchmarks.rerank --queries 842 --gallery 3978     # a quarter of it

Besides the literal version, dense matrices over all images, the matrix product of all features with themselves alone.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from benchmarks import measure
from benchmarks.ranking import SIZES, problem, product
from reid.evaluation.rerank import ROWS, k_reciprocal
from reid.runtime import cli

K1, K2, WEIGHT = 20, 6, 0.3


def literal(query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
    """As it is usually written: all distances, all of them sorted, and a dense row of weights for each image."""
    images = torch.cat([query, gallery])
    norms = images.square().sum(1)
    distances = (norms[:, None] + norms).addmm_(images, images.T, alpha=-2).clamp_(min=0).numpy()
    distances /= distances.max(axis=1, keepdims=True)
    order = np.argsort(distances, axis=1).astype(np.int32)
    codes = np.zeros_like(distances)
    for i in range(len(images)):
        members = mutual(order, i, K1)
        expanded = [members]
        for candidate in members:
            others = mutual(order, candidate, round(K1 / 2))
            if len(np.intersect1d(others, members)) > 2 / 3 * len(others):
                expanded.append(others)
        found = np.unique(np.concatenate(expanded))
        weights = np.exp(-distances[i, found])
        codes[i, found] = weights / weights.sum()
    codes = np.stack([codes[order[i, :K2]].mean(axis=0) for i in range(len(images))])
    having = [np.flatnonzero(codes[:, i]) for i in range(len(images))]
    jaccard = np.zeros((len(query), len(images)), dtype=np.float32)
    for i in range(len(query)):
        minima = np.zeros(len(images), dtype=np.float32)
        for j in np.flatnonzero(codes[i]):
            minima[having[j]] += np.minimum(codes[i, j], codes[having[j], j])
        jaccard[i] = 1 - minima / (2 - minima)
    return ((1 - WEIGHT) * jaccard + WEIGHT * distances[: len(query)])[:, len(query) :]


def mutual(order: np.ndarray, i: int, k: int) -> np.ndarray:
    """The k nearest images of image i that have it among their own k nearest."""
    forward = order[i, : k + 1]
    return forward[(order[forward, : k + 1] == i).any(axis=1)]


def ours(query: torch.Tensor, gallery: torch.Tensor) -> None:
    distances = k_reciprocal(K1, K2, WEIGHT)(query, gallery, False)
    for start in range(0, len(query), ROWS):
        distances.rows(slice(start, start + ROWS))


def product_of_all(images: torch.Tensor) -> None:
    product(images, images)


def setup(kind: str, size: str, num_query: int, num_gallery: int) -> measure.Step:
    query, gallery = (
        side[:n] for side, n in zip(problem(size, num_query, 1.0), (num_query, num_gallery), strict=False)
    )
    if kind == "matrix product alone":
        return partial(product_of_all, torch.cat([query, gallery]))
    return partial({"literal": literal, "ours": ours}[kind], query, gallery)


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.rerank")
    parser.add_argument("--size", choices=SIZES, default="market", help="as many images as this dataset has")
    parser.add_argument("--queries", type=cli.positive_int, help="number of queries (default: all)")
    parser.add_argument("--gallery", type=cli.positive_int, help="number of gallery images (default: all)")
    parser.add_argument("--threads", type=cli.positive_int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=cli.positive_int, default=3, help="timed turns; the literal version has one")
    kinds = ["literal", "matrix product alone", "ours"]
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds, help="what to measure")
    args = parser.parse_args(argv)
    most_queries, _, most_gallery, length, *_ = SIZES[args.size]
    num_query, num_gallery = args.queries or most_queries, min(args.gallery or most_gallery, most_gallery)
    images = num_query + num_gallery
    measure.lines(
        "rerank",
        {kind: partial(setup, kind, args.size, num_query, num_gallery) for kind in args.kinds},
        baseline=args.kinds[0],
        work=measure.Work(2 * images**2 * length, 4 * images * length),
        threads=args.threads,
        repeats=args.repeats,
        once={"literal"},
        queries=num_query,
        gallery=num_gallery,
    )


if __name__ == "__main__":
    cli.run(main)
