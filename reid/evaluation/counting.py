"""The ranks of the matches of queries: how many counted gallery images come no later than each."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reid.runtime import distributed

JUNK_PID = -1
LAST = torch.iinfo(torch.int64).max  # the key of an image that does not count: it comes after all others


class Gallery:
    """Who is where in a gallery: `pids` and `camids` (G,) int64 of it, or where `sharded` of this process's part.

    Columns of distances are those of the images from position `first` to before `end`.
    """

    def __init__(self, pids: np.ndarray, camids: np.ndarray, sharded: bool = False) -> None:
        self.sharded = sharded
        parts = distributed.every((pids, camids)) if sharded else [(pids, camids)]
        self.first = sum(len(part) for part, _ in parts[: distributed.rank()]) if sharded else 0
        self.end = self.first + len(pids)
        self.pids, self.camids = (np.concatenate(side) for side in zip(*parts, strict=True))
        self.by_pid = np.argsort(self.pids, kind="stable")
        self.junk_columns = torch.from_numpy(np.flatnonzero(pids == JUNK_PID))
        self.counted = int((self.pids != JUNK_PID).sum())

    def of_identity(self, pids: np.ndarray) -> np.ndarray:
        """Positions (B, L) of the images of each pid (B,), ascending; -1 beyond the last, and for junk."""
        begin, end = (np.searchsorted(self.pids, pids, side, sorter=self.by_pid)[:, None] for side in ("left", "right"))
        place = begin + np.arange((end - begin).max())
        images = self.by_pid[np.minimum(place, len(self.pids) - 1)]
        return np.where((place < end) & (pids[:, None] != JUNK_PID), images, -1)

    def leave_out(self, keys: Tensor, pids: np.ndarray, camids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Overwrite those of `keys` (B, columns) that do not count for queries with these pids and camids (B,) by LAST.

        Gives the positions (B, L) of the images of their identities, and which of these share the camera.
        """
        own = self.of_identity(pids)
        same_camera = (self.camids[own] == camids[:, None]) & (own >= 0)
        query, place = np.nonzero(same_camera & (own >= self.first) & (own < self.end))
        keys[torch.from_numpy(query), torch.from_numpy(own[query, place] - self.first)] = LAST
        keys[:, self.junk_columns] = LAST
        return own, same_camera

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes among which the gallery is split."""
        return distributed.all_sum(tensor) if self.sharded else tensor

    def gather(self, keys: Tensor, images: np.ndarray) -> tuple[Tensor, Tensor]:
        """Those of `keys` (B, columns) at positions `images` (B, ...), 0 where it has no column; and whether it has."""
        columns = torch.from_numpy(images - self.first).to(keys.device)
        here = (columns >= 0) & (columns < keys.shape[1])
        values = keys.gather(1, columns.clamp(0, keys.shape[1] - 1).flatten(1)).view(columns.shape)
        return values.masked_fill(~here, 0), here


class SingleShot:
    """The cuhk03 protocol: ranks the match of a query in `repeats` galleries of one random image per identity, none
    from the camera of the query.

    Each query has a generator of its own, made from `seed` and its position: the same seed gives the same galleries, in
    whatever blocks the queries come.
    """

    def __init__(self, gallery: Gallery, repeats: int, seed: int) -> None:
        self._gallery, self.repeats, self._seed = gallery, repeats, seed
        self._by_camera: dict[int, tuple[np.ndarray, ...]] = {}

    def places(self, keys: Tensor, query: int, pid: int, camid: int) -> np.ndarray:
        """Places (repeats,), from 0, of the match of the query at a position; `keys` (1, columns) are its own."""
        images, identities, first, number = self._others(camid)
        chance = np.random.default_rng((self._seed, query)).random((self.repeats, len(number)))
        drawn, here = self._gallery.gather(keys, images[first + (chance * number).astype(np.int64)][None])
        own = int(np.searchsorted(identities, pid))
        match = self._gallery.total(drawn[0, :, own : own + 1].clone())
        return self._gallery.total(((drawn[0] < match) & here[0]).sum(dim=1)).cpu().numpy()

    def _others(self, camid: int) -> tuple[np.ndarray, ...]:
        """Images outside a camera, identity by identity; the identities, and the first and the number of each."""
        if camid not in self._by_camera:
            by_pid, pids = self._gallery.by_pid, self._gallery.pids
            images = by_pid[((self._gallery.camids != camid) & (pids != JUNK_PID))[by_pid]]
            self._by_camera[camid] = (images, *np.unique(pids[images], return_index=True, return_counts=True))
        return self._by_camera[camid]


class Ranks(NamedTuple):
    """Of some queries: `ranks`, from 1, of all their matches, query by query, ascending; how many `matches` and
    `counted` images each has (b,); and single-shot places `drawn` (n, repeats) of the n queries that have a match.
    """

    ranks: np.ndarray
    matches: np.ndarray
    counted: np.ndarray
    drawn: np.ndarray


def match_ranks(
    keys: Tensor, queries: np.ndarray, pids: np.ndarray, camids: np.ndarray, gallery: Gallery, shots: SingleShot
) -> Ranks:
    """Ranks of the matches of the queries at positions `queries` (b,), which have these pids and camids (b,).

    `keys` (b, columns), distinct, order the gallery for each query, or this process's part of it; those of images that
    do not count are overwritten.
    """
    own, same_camera = gallery.leave_out(keys, pids, camids)
    matches = gallery.total(gallery.gather(keys, own)[0])
    closer = gallery.total(torch.searchsorted(_ascending(keys), matches, right=True)).cpu().numpy()
    ranks = np.sort(np.where((own >= 0) & ~same_camera, closer, 0), axis=1)
    is_match = ranks > 0
    asking = np.flatnonzero(is_match.any(axis=1))
    drawn = [shots.places(keys[[row]], queries[row], pids[row], camids[row]) for row in asking if shots.repeats]
    return Ranks(
        ranks[is_match],
        is_match.sum(axis=1),
        gallery.counted - same_camera.sum(axis=1),
        np.reshape(drawn, (len(drawn), shots.repeats)).astype(int),
    )


def _ascending(keys: Tensor) -> Tensor:
    """The keys of each row in order; on a CPU by numpy, which is much faster."""
    return torch.from_numpy(np.sort(keys.numpy())) if keys.device.type == "cpu" else keys.sort(dim=1).values
