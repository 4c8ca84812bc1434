"""The cuhk03 protocol: galleries of one random image per identity, none from the camera of the query."""

import numpy as np
from torch import Tensor

from reid.evaluation.counting import JUNK_PID, Gallery


class SingleShot:
    """Draws `repeats` such galleries for a query and ranks its match in them.

    Each query has a generator of its own, made from `seed` and its position: the same seed gives the same galleries, in
    whatever blocks the queries come.
    """

    def __init__(self, gallery: Gallery, repeats: int, seed: int) -> None:
        self._gallery, self._repeats, self._seed = gallery, repeats, seed
        self._by_camera: dict[int, tuple[np.ndarray, ...]] = {}

    def places(self, keys: Tensor, query: int, pid: int, camid: int) -> np.ndarray:
        """Places (repeats,), from 0, of the match of a query, by its position; it must have one.

        `keys` (1, columns) order the gallery for it, or this process's part of the gallery.
        """
        images, identities, first, number = self._others(camid)
        chance = np.random.default_rng((self._seed, query)).random((self._repeats, len(number)))
        drawn, here = self._gallery.gather(keys, images[first + (chance * number).astype(np.int64)][None])
        own = int(np.searchsorted(identities, pid))
        match = self._gallery.total(drawn[0, :, own : own + 1].clone())
        return self._gallery.total(((drawn[0] < match) & here[0]).sum(dim=1)).cpu().numpy()

    def _others(self, camid: int) -> tuple[np.ndarray, ...]:
        """Images outside a camera, identity by identity; the identities, and the first and the number of each."""
        if camid not in self._by_camera:
            gallery = self._gallery
            counts = (gallery.camids != camid) & (gallery.pids != JUNK_PID)
            images = gallery.by_pid[counts[gallery.by_pid]]
            self._by_camera[camid] = (images, *np.unique(gallery.pids[images], return_index=True, return_counts=True))
        return self._by_camera[camid]
