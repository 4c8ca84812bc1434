"""mAP, mINP and CMC of a query set against a gallery, exact, in blocks of queries.

Nothing is sorted but the true matches: the rank of a match is the number of gallery images that are at least
as close. docs/evaluation.md describes the protocol.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from reid.errors import ReidError
from reid.evaluation.distances import DistanceSource, as_features, ordered_keys, squared_euclidean
from reid.evaluation.single_shot import SingleShot

JUNK_PID = -1
LAST_KEY = torch.iinfo(torch.int64).max


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
    cuhk03_repeats: int = 10,
    cuhk03_seed: int = 0,
    chunk: int = 128,
) -> Ranking:
    """Rank the gallery (G, D) for every query (Q, D) by `distances` and score the ranking.

    Features may have any float type; they are compared in float32, on the device where they are. At most
    `chunk` rows of distances are in memory at once. The protocol and the other options are those of
    `rank_distances`.
    Raises ReidError for features of wrong shape or with NaN or infinite values, and where `rank_distances`
    does.
    """
    query, gallery = as_features(query_features, "query"), as_features(gallery_features, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ReidError(
            f"query features have length {query.shape[1]}, gallery features {gallery.shape[1]}; use one model"
        )
    return rank_distances(
        distances(query, gallery.to(query.device), chunk),
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
        topk=topk,
        cuhk03_repeats=cuhk03_repeats,
        cuhk03_seed=cuhk03_seed,
    )


def rank_distances(
    blocks: Iterable[Tensor],
    query_pids: Tensor | np.ndarray,
    gallery_pids: Tensor | np.ndarray,
    query_camids: Tensor | np.ndarray,
    gallery_camids: Tensor | np.ndarray,
    *,
    topk: int = 100,
    cuhk03_repeats: int = 10,
    cuhk03_seed: int = 0,
) -> Ranking:
    """Score a ranking given as blocks of distance rows (b, G), float32, which cover the queries in order.

    Gallery images that share pid and camera with the query, and junk (pid -1), are left out; queries without
    any match are skipped and counted. Equal distances are ordered by position in the gallery. Average
    precision is the mean of the precision at each match; mINP the mean of matches / rank of the last match
    (Ye et al., TPAMI 2021). CMC "market1501" counts a query at its first match; "allshots" counts each match
    by 1 / number of matches at its rank less the matches before it; "cuhk03" averages over `cuhk03_repeats`
    random single-shot galleries per query, drawn with `cuhk03_seed`.
    Raises ReidError when lengths disagree, no query has a match, or a distance is NaN or infinite.
    """
    pids, camids = _ids(query_pids, query_camids, "query")
    gallery = _ids(gallery_pids, gallery_camids, "gallery")
    identities = np.setdiff1d(gallery[0], [JUNK_PID])
    single_shot = SingleShot(*gallery, identities, camids, repeats=cuhk03_repeats, seed=cuhk03_seed)
    tally, done = _Tally(topk), 0
    with tqdm(total=len(pids), desc="ranking", leave=False, disable=None) as bar:
        for block in blocks:
            rows = slice(done, done + len(block))
            _check_block(block, len(pids[rows]), len(gallery[0]))
            ids = (torch.from_numpy(array).to(block.device) for array in (pids[rows], camids[rows], *gallery))
            matches, dropped = split_gallery(*ids)
            valid = matches.any(dim=1)
            found = valid.cpu().numpy()
            if found.any():
                keys = ordered_keys(block[valid])
                matches, dropped = matches[valid], dropped[valid]
                single = single_shot.match_ranks(keys, pids[rows][found], camids[rows][found])
                ranks = match_ranks(keys, matches, dropped).cpu().numpy()
                kept = (~dropped).sum(dim=1).cpu().numpy()
                tally.add(done + np.flatnonzero(found), ranks, kept, single)
            done += len(block)
            bar.update(len(block))
    if done != len(pids):
        raise ReidError(f"distances of {done} queries for {len(pids)} query pids; give one row for each query")
    return tally.ranking(len(pids))


def split_gallery(
    query_pids: Tensor, query_camids: Tensor, gallery_pids: Tensor, gallery_camids: Tensor
) -> tuple[Tensor, Tensor]:
    """Masks (B, G) of the true matches and of the images left out, for queries (B,) and a gallery (G,)."""
    same_pid = query_pids[:, None] == gallery_pids
    same_camera = query_camids[:, None] == gallery_camids
    dropped = (same_pid & same_camera) | (gallery_pids == JUNK_PID)
    return same_pid & ~dropped, dropped


def match_ranks(keys: Tensor, matches: Tensor, dropped: Tensor) -> Tensor:
    """Ranks (B, P), from 1, ascending, of the matches of each query in its gallery; 0 beyond its last match.

    `keys` (B, G) are distinct in each row, smaller for closer images; `matches` and `dropped` (B, G) are
    masks. P is the largest number of matches in the block.
    """
    counts = matches.sum(dim=1)
    rows, columns = matches.nonzero(as_tuple=True)
    slots = torch.arange(len(rows), device=keys.device) - (counts.cumsum(0) - counts)[rows]
    targets = keys.new_full((len(keys), int(counts.max())), LAST_KEY)
    targets[rows, slots] = keys[rows, columns]
    targets = targets.sort(dim=1).values
    # Histogram column p counts the images from beyond match p - 1 to match p itself, the last one the rest.
    width = targets.shape[1] + 1
    between = torch.searchsorted(targets, keys.masked_fill(dropped, LAST_KEY))
    between += torch.arange(len(keys), device=keys.device)[:, None] * width
    histogram = torch.bincount(between.flatten(), minlength=len(keys) * width).view(len(keys), width)
    return histogram.cumsum(dim=1)[:, :-1].masked_fill(targets == LAST_KEY, 0)


def chance_average_precision(kept: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Expected average precision of a random order of `kept` (N) images, `matches` (P) of them true; arrays.

    Given a match at rank r, each of the other P - 1 precedes it with probability (r - 1) / (N - 1), so its
    expected precision is (1 + (P - 1) (r - 1) / (N - 1)) / r. Averaged over r = 1 .. N that is
    (H_N + (P - 1) / (N - 1) (N - H_N)) / N with H_N = 1 + 1/2 + ... + 1/N.
    """
    harmonic = np.cumsum(1 / np.arange(1, kept.max() + 1))[kept - 1]
    return (harmonic + (matches - 1) / np.maximum(kept - 1, 1) * (kept - harmonic)) / kept


class _Tally:
    """Collects the ranks of the matches, block by block."""

    def __init__(self, topk: int) -> None:
        self.topk = topk
        self.hits = {name: np.zeros(topk) for name in ("market1501", "allshots", "cuhk03")}
        self.columns: dict[str, list[np.ndarray]] = {name: [] for name in ("query", "ap", "inp", "first", "chance")}

    def add(self, queries: np.ndarray, ranks: np.ndarray, kept: np.ndarray, single: np.ndarray) -> None:
        """Add queries (B,): `ranks` (B, P), `kept` (B,) gallery sizes, `single`-shot places (B, repeats)."""
        present = ranks > 0
        matches = present.sum(axis=1)
        order = np.arange(1, ranks.shape[1] + 1)
        precision = np.where(present, order / np.maximum(ranks, 1), 0)
        self._hit("market1501", ranks[:, 0] - 1, np.ones(len(ranks)))
        self._hit("allshots", (ranks - order)[present], np.repeat(1 / matches, matches))
        self._hit("cuhk03", single.ravel(), np.full(single.size, 1 / single.shape[1]))
        self.columns["query"].append(queries)
        self.columns["ap"].append(precision.sum(axis=1) / matches)
        self.columns["inp"].append(matches / ranks.max(axis=1))
        self.columns["first"].append(ranks[:, 0])
        self.columns["chance"].append(chance_average_precision(kept, matches))

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


def _check_block(block: Tensor, queries_left: int, num_gallery: int) -> None:
    if len(block) > queries_left or block.shape[1] != num_gallery:
        raise ReidError(
            f"features and ids disagree: distances {tuple(block.shape)} for {queries_left} more query pids "
            f"and {num_gallery} gallery pids; give one pid and one camid for each feature"
        )
    if not torch.isfinite(torch.stack(block.aminmax())).all():
        raise ReidError("distances are NaN or infinite: the features are too large for float32, scale them down")
