"""How many gallery images are closer to a query than each of its matches: counted, the gallery is never sorted.

The matches of a query, sorted by distance, cut the gallery into slots: slot s holds the images that come after s
matches. What is kept of a query is the number of images of each group in each slot, a group being an identity in other
cameras than the query's, or all of the query's camera. Images behind the last match are set aside first, mostly nearly
all. A table of equal steps of distance gives the slot of almost all others; those that share a step with a match are
compared with it, distance first, then position in the gallery.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.runtime import distributed

JUNK_PID = -1
STEPS = 2048
STRIP = 3 * 2**20  # gallery distances that are sorted into slots at a time: a few megabytes, so they stay in the cache


class Gallery:
    """Who is where in a gallery: `pids` and `camids` (G,) int64 of it, or where `sharded` of this process's part.

    `identities` are its pids without junk, ascending. Columns of distances are those of the images from `first` on.
    """

    def __init__(self, pids: np.ndarray, camids: np.ndarray, sharded: bool = False) -> None:
        self._sharded = sharded
        parts = distributed.every((pids, camids)) if sharded else [(pids, camids)]
        self.first = sum(len(part) for part, _ in parts[: distributed.rank()]) if sharded else 0
        self.columns = slice(self.first, self.first + len(pids))
        self.pids, self.camids = (np.concatenate(side) for side in zip(*parts, strict=True))
        self.identities = np.setdiff1d(self.pids, [JUNK_PID])
        self.groups = np.searchsorted(self.identities, self.pids)
        self.groups[self.pids == JUNK_PID] = self.junk
        self._by_pid = np.argsort(self.pids, kind="stable")
        self._ordered_pids = self.pids[self._by_pid]

    @property
    def same_camera(self) -> int:
        """The group of all images of the query's camera."""
        return len(self.identities)

    @property
    def junk(self) -> int:
        """The group of the images that do not count."""
        return len(self.identities) + 1

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes among which the gallery is split."""
        return distributed.all_sum(tensor) if self._sharded else tensor

    def of_identity(self, pids: np.ndarray) -> np.ndarray:
        """Positions (B, L) of the images of each pid (B,), ascending; -1 beyond the last, and for junk."""
        begin, end = (np.searchsorted(self._ordered_pids, pids, side=side)[:, None] for side in ("left", "right"))
        place = begin + np.arange((end - begin).max())
        listed = self._by_pid[np.minimum(place, len(self.pids) - 1)]
        return np.where((place < end) & (pids[:, None] != JUNK_PID), listed, -1)

    def images(self, camera: int) -> np.ndarray:
        """Number of images (I,) of each identity in other cameras than this."""
        return np.bincount(self.groups[self.camids != camera], minlength=self.junk)[: len(self.identities)]


@dataclass(frozen=True)
class Strip:
    """Queries of one camera: `rows` (R,) of a block, and positions of their `matches` (R, P), ascending, then -1.

    `left_out` are the pairs (query of the strip, position) of the same identity and camera, as two arrays.
    """

    camera: int
    rows: np.ndarray
    matches: np.ndarray
    left_out: tuple[np.ndarray, np.ndarray]


def strips(gallery: Gallery, pids: np.ndarray, camids: np.ndarray) -> Iterator[Strip]:
    """The queries (B,) of a block that have a match, those of a camera together, about as many matches each.

    They are the same on all processes, and the same as without sharding.
    """
    listed = gallery.of_identity(pids)
    same = (gallery.camids[listed] == camids[:, None]) & (listed >= 0)
    is_match = (listed >= 0) & ~same
    count = is_match.sum(axis=1)
    by_count = np.argsort(count, kind="stable")
    for camera in np.unique(camids[count > 0]):
        rows = by_count[(camids[by_count] == camera) & (count[by_count] > 0)]
        most = count[rows[-1]]
        size = max(1, STRIP // max(len(gallery.pids), (most + 2) * (gallery.junk + 1)))
        for some in np.array_split(rows, -(-len(rows) // size)):
            matches = np.where(is_match[some], listed[some], np.iinfo(np.int64).max)
            matches = np.sort(matches, axis=1)[:, : count[some[-1]]]
            matches[matches == np.iinfo(np.int64).max] = -1
            query, place = same[some].nonzero()
            yield Strip(int(camera), some, matches, (query, listed[some][query, place]))


def slot_counts(block: Tensor, strip: Strip, gallery: Gallery) -> Tensor:
    """Images (R, P + 1, groups) of each group in each slot of the queries of a strip, whole numbers as floats.

    `block` (B, G) float32 are the distances of a block of queries to the gallery, or to this process's part.
    A match belongs to the slot of the matches before it, so slots 0 .. m hold all up to and with match m. Not
    all images behind the last match are counted in slot P.
    """
    rows = torch.from_numpy(strip.rows).to(block.device)
    matches = torch.from_numpy(strip.matches).to(block.device)
    number = matches.shape[1]
    targets = gallery.total(_own(block, rows, matches - gallery.first))
    targets, order = targets.masked_fill_(matches < 0, torch.inf).sort(dim=1, stable=True)
    table = _Table(targets, matches.gather(1, order))
    steps = table.steps(block.index_select(0, rows), slice(None))
    query, place = (torch.from_numpy(ids).to(block.device) for ids in strip.left_out)
    here = (place >= gallery.first) & (place < gallery.first + block.shape[1])
    steps[query[here], place[here] - gallery.first] = torch.nan
    found = _at_most(steps, table.last)
    query, column = _rows_and_columns(found, steps.shape)
    slot = table.rough_slots(query, steps.flatten().index_select(0, found))
    unsure = (slot > number).nonzero()[:, 0]
    some, columns = query[unsure], column[unsure]
    slot[unsure] = table.slots(some, block[rows[some], columns], columns + gallery.first).long()
    index = slot.add_(query, alpha=number + 1).mul_(gallery.junk + 1)
    index += _column_groups(gallery, strip.camera, block.device).index_select(0, column)
    exact = torch.float32 if len(gallery.pids) < 2**24 else torch.float64  # floats, because they go into a product
    counts = torch.zeros(len(rows), number + 1, gallery.junk + 1, dtype=exact, device=block.device)
    counts.view(-1).scatter_add_(0, index, torch.ones_like(index, dtype=exact))
    return gallery.total(counts)


def match_ranks(counts: Tensor, strip: Strip, gallery: Gallery) -> tuple[np.ndarray, np.ndarray]:
    """Ranks (R, P), from 1, ascending, of the matches, 0 where none is; and sizes (R,) of the counted galleries."""
    closer = counts[:, :-1, : gallery.junk].sum(dim=2).long().cumsum(dim=1).cpu().numpy()
    left_out = np.bincount(strip.left_out[0], minlength=len(closer))
    return np.where(strip.matches >= 0, closer, 0), (gallery.groups != gallery.junk).sum() - left_out


def _own(block: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Distances (R, P) at `columns` (R, P) of `rows` (R,) of the block, 0 where there is no such column."""
    here = (columns >= 0) & (columns < block.shape[1])
    return block[rows[:, None], columns.clamp(0, block.shape[1] - 1)].masked_fill_(~here, 0)


def _column_groups(gallery: Gallery, camera: int, device: torch.device) -> Tensor:
    groups = gallery.groups[gallery.columns]
    other = (gallery.camids[gallery.columns] != camera) | (groups == gallery.junk)
    return torch.from_numpy(np.where(other, groups, gallery.same_camera)).to(device)


class _Table:
    """Where the matches of each query lie: their distances `targets` (R, P), ascending, inf where none is, and places.

    The range from the first to the last is divided into STEPS equal steps, with one more on either side. Rounding
    cannot put two distances in the wrong order of steps, only in the same. `last` (R, 1) is the step of the last match.
    """

    def __init__(self, targets: Tensor, places: Tensor) -> None:
        self._targets, self._places = targets, places
        first, last = targets[:, :1], targets.masked_fill(targets.isinf(), -torch.inf).amax(dim=1, keepdim=True)
        step = last / (STEPS - 1) - first / (STEPS - 1)
        self._start, self._scale = first - step, (1 / step).clamp_(max=torch.finfo(step.dtype).max)
        self.last = self.steps(last.clone(), slice(None))
        steps = _whole(self.steps(targets.clone(), slice(None)))
        self._within = torch.zeros(len(targets), STEPS + 2, dtype=torch.int32, device=targets.device)
        self._within.scatter_add_(1, steps, targets.isfinite().int())
        self._rough = self._within.cumsum(dim=1, dtype=torch.int32).add_(self._within, alpha=targets.shape[1])

    def steps(self, distances: Tensor, queries: Tensor | slice) -> Tensor:
        """Steps, with fractions, in which `distances` (R, N) of `queries` lie; these are overwritten."""
        return distances.sub_(self._start[queries]).mul_(self._scale[queries])

    def rough_slots(self, query: Tensor, steps: Tensor) -> Tensor:
        """Slots of images at `steps` of `query`, both (n,); beyond P where the step holds a match."""
        return self._rough.flatten().index_select(0, _whole(steps).add_(query, alpha=STEPS + 2)).long()

    def slots(self, query: Tensor, distance: Tensor, place: Tensor) -> Tensor:
        """Exact slots of images at `place` in the gallery and `distance` of `query`, all (n,), by bisection."""
        steps = _whole(self.steps(distance[:, None].clone(), query)[:, 0])
        within = self._within[query, steps]
        low = self._rough[query, steps] - within * (self._targets.shape[1] + 1)
        high = low + within
        while bool((low < high).any()):
            middle = (low + high) // 2
            target = self._targets[query, middle.clamp(max=self._targets.shape[1] - 1)]
            its_place = self._places[query, middle.clamp(max=self._targets.shape[1] - 1)]
            after = (low < high) & ((target < distance) | ((target == distance) & (its_place < place)))
            low, high = torch.where(after, middle + 1, low), torch.where(after, high, middle)
        return low


def _whole(steps: Tensor) -> Tensor:
    """Whole numbers of steps, int64, from 0 to STEPS + 1; `steps` are overwritten."""
    return steps.clamp_(0, STEPS + 1).long()


def _at_most(values: Tensor, limits: Tensor) -> Tensor:
    """Positions (n,), counted row by row, of the values (R, G) that are at most the limit (R, 1) of their row."""
    if values.device.type != "cpu":
        return (values <= limits).flatten().nonzero()[:, 0]
    mask = np.zeros(-(-values.numel() // 8) * 8, dtype=bool)
    np.less_equal(values.numpy(), limits.numpy(), out=mask[: values.numel()].reshape(values.shape))
    if np.count_nonzero(mask) > len(mask) // 10:
        return torch.from_numpy(np.flatnonzero(mask))  # several times faster than torch's
    eights = np.flatnonzero(mask.view(np.uint64) != 0)  # where few are found: first the groups of eight that hold any
    found = np.flatnonzero(mask.view(np.uint64)[eights].view(bool))
    return torch.from_numpy((eights[found >> 3] << 3) + (found & 7))


def _rows_and_columns(found: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Row and column (n,) of ascending positions (n,) in a matrix of this shape, without n divisions."""
    ends = torch.searchsorted(found, torch.arange(shape[0] + 1, device=found.device) * shape[1])
    row = torch.arange(shape[0], device=found.device).repeat_interleave(ends.diff(), output_size=len(found))
    return row, torch.sub(found, row, alpha=shape[1])
