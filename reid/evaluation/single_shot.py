"""The cuhk03 protocol: a gallery of one random image per identity, none from the camera of the query."""

import numpy as np
import torch
from torch import Tensor


class SingleShot:
    """Draws single-shot galleries for queries and ranks their match in them.

    `pids`, `camids`: (G,) numpy integers of the gallery; `identities`: the pids that may be drawn, ascending.
    `repeats` galleries are drawn for every query, from a generator of its own: same seed, same galleries,
    however the queries are split into blocks.
    """

    def __init__(
        self,
        pids: np.ndarray,
        camids: np.ndarray,
        identities: np.ndarray,
        query_camids: np.ndarray,
        repeats: int,
        seed: int,
    ) -> None:
        self._generator = np.random.default_rng(seed)
        self._repeats = repeats
        self._identities = identities
        self._cameras = np.unique(query_camids)
        by_identity = np.argsort(pids, kind="stable")
        # One list per query camera, end to end: the images of the other cameras, identity by identity.
        lists = [by_identity[camids[by_identity] != camera] for camera in self._cameras]
        bounds = [
            np.searchsorted(pids[images], identities, side=side) for side in ("left", "right") for images in lists
        ]
        first, end = np.reshape(bounds, (2, len(self._cameras), -1))
        offsets = np.cumsum([0] + [len(images) for images in lists[:-1]])
        self._images, self._first, self._count = np.concatenate(lists), first + offsets[:, None], end - first

    def match_ranks(self, keys: Tensor, pids: np.ndarray, camids: np.ndarray) -> np.ndarray:
        """Places (B, repeats), from 0, of the match of queries (B,) in their drawn galleries, closest first.

        `keys` (B, G) order the gallery of each query (see `distances.ordered_keys`). Every query needs a
        match.
        """
        camera = np.searchsorted(self._cameras, camids)
        count = self._count[camera][:, None]
        chance = self._generator.random((len(pids), self._repeats, len(self._identities)), dtype=np.float32)
        place = self._first[camera][:, None] + (chance * count).astype(np.int64)
        images = torch.from_numpy(self._images[np.minimum(place, len(self._images) - 1)]).to(keys.device)
        drawn = keys.gather(1, images.flatten(1)).view(images.shape)
        own = torch.from_numpy(np.searchsorted(self._identities, pids)).to(keys.device)
        match = drawn.gather(2, own[:, None, None].expand(-1, self._repeats, 1))
        present = torch.from_numpy(count > 0).to(keys.device)
        return ((drawn < match) & present).sum(dim=2).cpu().numpy()
