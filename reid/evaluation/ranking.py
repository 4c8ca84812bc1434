"""mAP, mINP and CMC of a query set against a gallery, exact, in blocks of queries.

Nothing is sorted but the true matches: the rank of a match is the number of gallery images that are at least as close
(`counting.py`). docs/evaluation.md describes the protocol.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from reid.errors import ReidError
from reid.evaluation.counting import JUNK_PID, Gallery, Strip, match_ranks, slot_counts, strips
from reid.evaluation.distances import BY_NAME, DistanceSource, as_features, full_precision, squared_euclidean
from reid.evaluation.single_shot import Expected, Sampled
from reid.evaluation.threads import in_threads
from reid.runtime import distributed

__all__ = ["JUNK_PID", "Ranking", "chance_average_precision", "rank", "rank_distances"]


def block_rows(queries: int, images: int) -> int:
    """Queries whose distances to a gallery of so many images are in memory at a time: up to 512 MB, but at least 64.

    All blocks are of about the same size, and of at most 1280 queries.
    """
    most = min(1280, max(64, 2**27 // images))
    return -(-queries // -(-queries // most))


@dataclass(frozen=True)
class Ranking:
    """Scores of a ranking; all of them are fractions in [0, 1].

    `cmc` has the curves "market1501", "allshots" and "cuhk03", float64 arrays (topk,): entry k counts matches
    at rank k + 1 or better. The last three fields are arrays (num_valid,) over the queries that have a match,
    in query order: their positions among all queries, their average precision, and the rank (from 1) of their
    first match.
    """

    mAP: float
    mINP: float
    cmc: dict[str, np.ndarray]
    chance_mAP: float
    num_valid: int
    num_skipped: int
    valid_queries: np.ndarray
    average_precision: np.ndarray
    first_match_rank: np.ndarray


def rank(
    query_features: Tensor | np.ndarray,
    gallery_features: Tensor | np.ndarray,
    query_pids: Tensor | np.ndarray,
    gallery_pids: Tensor | np.ndarray,
    query_camids: Tensor | np.ndarray,
    gallery_camids: Tensor | np.ndarray,
    *,
    distances: DistanceSource = squared_euclidean,
    topk: int = 100,
    cuhk03_repeats: int = 0,
    cuhk03_seed: int = 0,
    chunk: int | None = None,
    sharded: bool = False,
) -> Ranking:
    """Rank the gallery (G, D) for every query (Q, D) by `distances` and score the ranking.

    Features may have any float type; they are compared in float32, on the device where they are. At most
    `chunk` rows of distances are in memory at once (None: 1280, fewer for a gallery beyond 100,000 images). The
    protocol and the other options are those of `rank_distances`. Where `sharded`, each process has all queries and its
    own part of the gallery.
    Raises ReidError for features of wrong shape or with NaN or infinite values, where `rank_distances` does, and for a
    sharded gallery whose distances need all of it (re-ranking).
    """
    query, gallery = as_features(query_features, "query"), as_features(gallery_features, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ReidError(
            f"query features have length {query.shape[1]}, gallery features {gallery.shape[1]}; use one model"
        )
    if sharded and distributed.size() > 1 and distances not in BY_NAME.values():
        raise ReidError(
            "these distances need the whole gallery, and each process has a part of it; "
            f"gather the features and rank without sharding, or use one of the distances {', '.join(BY_NAME)}"
        )
    largest = max(distributed.every(len(gallery))) if sharded else len(gallery)
    return rank_distances(
        distances(query, gallery.to(query.device), chunk or block_rows(len(query), largest)),
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
        topk=topk,
        cuhk03_repeats=cuhk03_repeats,
        cuhk03_seed=cuhk03_seed,
        sharded=sharded,
    )


def rank_distances(
    blocks: Iterable[Tensor],
    query_pids: Tensor | np.ndarray,
    gallery_pids: Tensor | np.ndarray,
    query_camids: Tensor | np.ndarray,
    gallery_camids: Tensor | np.ndarray,
    *,
    topk: int = 100,
    cuhk03_repeats: int = 0,
    cuhk03_seed: int = 0,
    sharded: bool = False,
) -> Ranking:
    """Score a ranking given as blocks of distance rows (b, G), float32, which cover the queries in order.

    Gallery images that share pid and camera with the query, and junk (pid -1), are left out; queries without
    any match are skipped and counted. Equal distances are ordered by position in the gallery. Average
    precision is the mean of the precision at each match; mINP the mean of matches / rank of the last match
    (Ye et al., TPAMI 2021). CMC "market1501" counts a query at its first match; "allshots" counts each match
    by 1 / number of matches at its rank less the matches before it; "cuhk03" is the expectation over all single-shot
    galleries, or with `cuhk03_repeats` the mean over that many per query, drawn with `cuhk03_seed`.
    Where `sharded`, the gallery is that of all processes of the job one after the other, in order of rank: each gives
    the pids, camids and columns of its own part, the same queries in blocks of the same size, and gets the same scores.
    Raises ReidError when lengths disagree, no query has a match, or a distance is NaN or infinite.
    """
    pids, camids = _ids(query_pids, query_camids, "query")
    gallery = Gallery(*_ids(gallery_pids, gallery_camids, "gallery"), sharded)
    expected = None if cuhk03_repeats else Expected(gallery, topk)
    sampled = Sampled(gallery, camids, cuhk03_repeats, cuhk03_seed) if cuhk03_repeats else None
    tally, done = _Tally(topk), 0
    bar = tqdm(total=len(pids), desc="ranking", leave=False, disable=None if distributed.is_main() else True)
    with bar, nullcontext(map) if sharded else in_threads() as score_all:  # processes send in one order: no threads
        for block in blocks:
            ids = pids[done : done + len(block)], camids[done : done + len(block)]
            _check_block(block, len(ids[0]), gallery)
            score = partial(_score, block, gallery, expected)
            rows = []
            with full_precision(block.device):
                for strip, ranks, kept, functions in score_all(score, strips(gallery, *ids)):
                    rows.append(strip.rows)
                    tally.add(done + strip.rows, ranks, kept)
                    if expected is not None and functions is not None:
                        expected.add(functions)
            if sampled is not None and rows:
                tally.add_sampled(sampled.places(block, np.sort(np.concatenate(rows)), *ids))
            done += len(block)
            bar.update(len(block))
    if done != len(pids):
        raise ReidError(f"distances of {done} queries for {len(pids)} query pids; give one row for each query")
    if expected is not None:
        tally.hits["cuhk03"] = expected.hits()
    return tally.ranking(len(pids))


def _score(
    block: Tensor, gallery: Gallery, expected: Expected | None, strip: Strip
) -> tuple[Strip, np.ndarray, np.ndarray, Tensor | None]:
    """The strip, ranks of its matches, sizes of its counted galleries, and its part of the expected cuhk03 curve."""
    counts = slot_counts(block, strip, gallery)
    return strip, *match_ranks(counts, strip, gallery), expected.functions(counts, strip) if expected else None


def chance_average_precision(kept: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Expected average precision of a random order of `kept` (N) images, `matches` (P) of them true; arrays.

    Given a match at rank r, each of the other P - 1 precedes it with probability (r - 1) / (N - 1), so its
    expected precision is (1 + (P - 1) (r - 1) / (N - 1)) / r. Averaged over r = 1 .. N that is
    (H_N + (P - 1) / (N - 1) (N - H_N)) / N with H_N = 1 + 1/2 + ... + 1/N.
    """
    harmonic = np.cumsum(1 / np.arange(1, kept.max() + 1))[kept - 1]
    return (harmonic + (matches - 1) / np.maximum(kept - 1, 1) * (kept - harmonic)) / kept


class _Tally:
    """Collects the ranks of the matches, strip by strip."""

    def __init__(self, topk: int) -> None:
        self.topk = topk
        self.hits = {name: np.zeros(topk) for name in ("market1501", "allshots", "cuhk03")}
        self.columns: dict[str, list[np.ndarray]] = {name: [] for name in ("query", "ap", "inp", "first", "chance")}

    def add(self, queries: np.ndarray, ranks: np.ndarray, kept: np.ndarray) -> None:
        """Add queries (R,): `ranks` (R, P) and `kept` (R,) gallery sizes."""
        present = ranks > 0
        matches = present.sum(axis=1)
        order = np.arange(1, ranks.shape[1] + 1)
        precision = np.where(present, order / np.maximum(ranks, 1), 0)
        self._hit("market1501", ranks[:, 0] - 1, np.ones(len(ranks)))
        self._hit("allshots", (ranks - order)[present], np.repeat(1 / matches, matches))
        self.columns["query"].append(queries)
        self.columns["ap"].append(precision.sum(axis=1) / matches)
        self.columns["inp"].append(matches / ranks.max(axis=1))
        self.columns["first"].append(ranks[:, 0])
        self.columns["chance"].append(chance_average_precision(kept, matches))

    def add_sampled(self, places: np.ndarray) -> None:
        """Add the places (B, repeats), from 0, of the match of each query in single-shot galleries."""
        self._hit("cuhk03", places.ravel(), np.full(places.size, 1 / places.shape[1]))

    def _hit(self, protocol: str, places: np.ndarray, weights: np.ndarray) -> None:
        inside = places < self.topk
        self.hits[protocol] += np.bincount(places[inside], weights[inside], minlength=self.topk)

    def ranking(self, num_query: int) -> Ranking:
        """The scores over all queries added. Raises ReidError when there are none."""
        if not self.columns["query"]:
            raise ReidError(
                f"none of the {num_query} queries has a match in another camera, so nothing can be scored: "
                "check that query and gallery share pids, and that camids are not all the same (one camera)"
            )
        column = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        in_order = column["query"].argsort()
        column = {name: values[in_order] for name, values in column.items()}
        num_valid = len(column["query"])
        return Ranking(
            mAP=float(column["ap"].mean()),
            mINP=float(column["inp"].mean()),
            cmc={name: hits.cumsum() / num_valid for name, hits in self.hits.items()},
            chance_mAP=float(column["chance"].mean()),
            num_valid=num_valid,
            num_skipped=num_query - num_valid,
            valid_queries=column["query"],
            average_precision=column["ap"],
            first_match_rank=column["first"],
        )


def _ids(pids: Tensor | np.ndarray, camids: Tensor | np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Pids and camids of one side as int64 arrays (N,). Raises ReidError when they are not that, or empty."""
    pids, camids = (torch.as_tensor(ids).cpu().numpy() for ids in (pids, camids))
    integers = {pids.dtype.kind, camids.dtype.kind} <= {"i", "u"}
    if not integers or pids.ndim != 1 or pids.shape != camids.shape or not pids.size:
        raise ReidError(
            f"{side} pids {pids.dtype} {pids.shape}, camids {camids.dtype} {camids.shape}: "
            "give one integer pid and one integer camid for each image"
        )
    return pids.astype(np.int64), camids.astype(np.int64)


def _check_block(block: Tensor, queries_left: int, gallery: Gallery) -> None:
    columns = gallery.columns.stop - gallery.columns.start
    if len(block) > queries_left or block.shape[1] != columns:
        raise ReidError(
            f"features and ids disagree: distances {tuple(block.shape)} for {queries_left} more query pids "
            f"and {columns} gallery pids; give one pid and one camid for each feature"
        )
    if not torch.isfinite(torch.stack(block.aminmax())).all():
        raise ReidError("distances are NaN or infinite: the features are too large for float32, scale them down")
