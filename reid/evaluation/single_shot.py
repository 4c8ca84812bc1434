"""The cuhk03 protocol: a gallery of one random image per identity, none from the camera of the query.

`Expected` gives what an infinite number of such galleries gives on average, `Sampled` draws a few.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reid.evaluation.counting import STRIP, Gallery, Strip
from reid.evaluation.distances import ordered_keys

NEGLIGIBLE = -32.0  # natural logarithm of a probability that changes no curve: 1e-14
FEW = 6  # different shares per identity up to which counting them and a matrix product is faster than adding rows


class Expected:
    """Collects the expected CMC of queries over all single-shot galleries, strip by strip.

    Given the match, every other identity precedes it independently, with probability p: the share of its images that
    are closer. So the number of identities before it has a Poisson binomial distribution, whose generating function is
    the product of 1 + p (z - 1); the match itself is drawn uniformly. The function is evaluated on a circle, as
    exp(sum over p of occurrences of p x log(1 + p (z - 1))), which is a matrix product; the mean over matches and
    queries is transformed back once (Fernandez and Williams, IEEE Trans. Aerospace and Electronic Systems, 2010).
    n points tell k from k + n only by the radius: one point per identity leaves nothing to tell, and with fewer the
    radius below one brings both the remainder and the rounding to 4e-9 at most.
    """

    def __init__(self, gallery: Gallery, topk: int) -> None:
        self._gallery, self._topk = gallery, topk
        identities = max(1, len(gallery.identities))
        self._points = min(topk + topk // 8 + 1, identities)
        self._radius = 1.0 if self._points == identities else 10 ** (-16 / (self._points + topk))
        angles = torch.arange(self._points // 2 + 1, dtype=torch.float64) * (-2 * torch.pi / self._points)
        self._circle = torch.polar(torch.full_like(angles, self._radius), angles)
        self._sum = torch.zeros_like(self._circle)
        self._tables: dict[int, _Shares] = {}

    def functions(self, counts: Tensor, strip: Strip) -> Tensor:
        """What `add` wants of the queries of a strip: their generating functions, summed over the queries.

        `counts` are the images of each identity in each slot, and are overwritten.
        """
        if strip.camera not in self._tables:
            self._tables[strip.camera] = _Shares(self._gallery.images(strip.camera), self._circle, counts.device)
        shares = self._tables[strip.camera]
        present = strip.matches >= 0
        weights = torch.from_numpy(present / present.sum(axis=1, keepdims=True))
        own = torch.from_numpy(self._gallery.groups[strip.matches[:, 0]]).to(counts.device)
        closer = counts[:, :-1, : len(shares.images)]
        closer[torch.arange(len(own), device=own.device), :, own] = 0
        expected = (counts @ shares.per_image.to(counts)).cumsum(dim=1)[:, :-1]
        certain = weights[(expected == 0).cpu()].sum()  # their function is one
        chosen = torch.from_numpy(present).to(counts.device) & (expected > 0) & self._within_topk(expected)
        query, match = chosen.nonzero(as_tuple=True)
        for slot in range(1, int(match.max()) + 1 if len(match) else 0):
            closer[:, slot] += closer[:, slot - 1]
        some = counts.flatten(0, 1).index_select(0, query * counts.shape[1] + match)[:, : len(shares.images)]
        return certain + shares.generating_functions(some, weights[chosen.cpu()]).cpu()

    def add(self, functions: Tensor) -> None:
        """Add the queries of a strip."""
        self._sum += functions

    def hits(self) -> np.ndarray:
        """The sum (topk,) over queries of the probability that the match is at each place."""
        found = torch.fft.irfft(self._sum, n=self._points)[: self._topk].clamp(min=0).numpy()
        return np.pad(found / self._radius ** np.arange(len(found)), (0, self._topk - len(found)))

    def _within_topk(self, expected: Tensor) -> Tensor:
        """False where a match is so unlikely to be among the first topk, after `expected` identities on average.

        Chernoff's bound of the logarithm of that probability is k + k log(expected / k) - expected, k = topk - 1.
        """
        allowed = self._topk - 1
        bound = allowed - expected + torch.xlogy(allowed, expected / max(allowed, 1))
        return (expected <= allowed) | (bound > NEGLIGIBLE)


class _Shares:
    """The shares p that there can be of the images (I,) of each identity, and log(1 + p (z - 1)) on a circle of z."""

    def __init__(self, images: np.ndarray, circle: Tensor, device: torch.device) -> None:
        self.images = torch.from_numpy(images).to(device)
        self.per_image = functional.pad(1 / self.images.clamp(min=1), (0, 2))  # nothing for the two other groups
        counts, which = np.unique(images, return_inverse=True)
        shares = [np.arange(count + 1) / max(count, 1) for count in counts]
        values, ids = np.unique(np.concatenate(shares), return_inverse=True)
        first = np.cumsum([0, *counts[:-1] + 1])[which]
        self._first, self._ids = (torch.from_numpy(x.astype(np.int32)).to(device) for x in (first, ids))
        parts = circle - 1
        real, imaginary = (torch.from_numpy(values)[:, None] * part for part in (parts.real, parts.imag))
        real += 1
        modulus = (real.square() + imaginary.square()).log_().div_(2)
        logs = torch.cat([modulus.clamp_(min=-700), torch.atan2(imaginary, real)], dim=1)  # exp(-700) stands for zero
        self._logs = logs if device.type == "mps" else logs.to(device)  # which has no float64

    def generating_functions(self, closer: Tensor, weights: Tensor) -> Tensor:
        """The sum of those of distributions given by `closer` (n, I), images of each identity, times `weights` (n,)."""
        ids = self._ids.index_select(0, (closer + self._first).int().flatten()).view(closer.shape)
        if len(self._logs) > FEW * closer.shape[1]:
            sums = functional.embedding_bag(ids.to(self._logs.device), self._logs, mode="sum")
        else:
            size = len(ids), len(self._logs)
            ids += torch.arange(size[0], dtype=torch.int32, device=ids.device)[:, None] * size[1]
            occurrences = torch.bincount(ids.flatten(), minlength=size[0] * size[1]).view(size)
            sums = occurrences.to(self._logs) @ self._logs
        modulus, angle = sums.chunk(2, dim=1)
        modulus = modulus.exp_().mul_(weights.to(sums)[:, None])
        return torch.complex((modulus * angle.cos()).sum(dim=0), (modulus * angle.sin_()).sum(dim=0))


class Sampled:
    """Draws single-shot galleries for queries and ranks their match in them.

    `repeats` galleries are drawn for every query, from a generator of its own: same seed, same galleries,
    however the queries are split into blocks.
    """

    def __init__(self, gallery: Gallery, query_camids: np.ndarray, repeats: int, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._gallery, self._repeats = gallery, repeats
        self._cameras = np.unique(query_camids)
        by_identity = np.argsort(gallery.pids, kind="stable")
        # One list per query camera, end to end: the images of the other cameras, identity by identity.
        lists = [by_identity[gallery.camids[by_identity] != camera] for camera in self._cameras]
        bounds = [
            np.searchsorted(gallery.pids[images], gallery.identities, side=side)
            for side in ("left", "right")
            for images in lists
        ]
        first, end = np.reshape(bounds, (2, len(self._cameras), -1))
        offsets = np.cumsum([0] + [len(images) for images in lists[:-1]])
        self._images, self._first, self._count = np.concatenate(lists), first + offsets[:, None], end - first

    def places(self, block: Tensor, rows: np.ndarray, pids: np.ndarray, camids: np.ndarray) -> np.ndarray:
        """Places (R, repeats), from 0, of the match of queries in their drawn galleries, closest first.

        `block` (B, G) are the distances of queries (B,) to the gallery, or to this process's part of it, and `rows`
        (R,) those of them that have a match.
        """
        pieces = np.array_split(rows, -(-len(rows) * len(self._gallery.pids) // STRIP))
        return np.concatenate([self._drawn(block, piece, pids[piece], camids[piece]) for piece in pieces if len(piece)])

    def _drawn(self, block: Tensor, rows: np.ndarray, pids: np.ndarray, camids: np.ndarray) -> np.ndarray:
        keys = ordered_keys(block[torch.from_numpy(rows).to(block.device)]) + self._gallery.first
        camera = np.searchsorted(self._cameras, camids)
        count = self._count[camera][:, None]
        chance = self._generator.random((len(pids), self._repeats, count.shape[2]), dtype=np.float32)
        place = self._first[camera][:, None] + (chance * count).astype(np.int64)
        images = torch.from_numpy(self._images[np.minimum(place, len(self._images) - 1)] - self._gallery.first)
        images = images.to(keys.device)
        here = (images >= 0) & (images < keys.shape[1]) & torch.from_numpy(count > 0).to(keys.device)
        drawn = keys.gather(1, images.clamp(0, keys.shape[1] - 1).flatten(1)).view(images.shape)
        own = torch.from_numpy(np.searchsorted(self._gallery.identities, pids)).to(keys.device)
        own = own[:, None, None].expand(-1, self._repeats, 1)
        match = self._gallery.total(drawn.masked_fill(~here, 0).gather(2, own))
        return self._gallery.total(((drawn < match) & here).sum(dim=2)).cpu().numpy()
