"""In which size images are read, and how: what all stores of one command have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from reid.datasets import Sample
from reid.loading.store import ImageStore


@dataclass(frozen=True)
class Images:
    """Images of `height` x `width`, decoded by `workers` threads and kept as `cache` says (see ImageStore)."""

    height: int = 256
    width: int = 128
    workers: int = 2
    cache: str = "ram"

    def stores(self, sides: tuple[Sequence[Sample], Sequence[Sample]]) -> tuple[ImageStore, ImageStore]:
        """Stores of the samples of two sides, query and gallery."""
        return self.store(sides[0]), self.store(sides[1])

    def store(self, samples: Sequence[Sample]) -> ImageStore:
        """A store of these samples. Raises UsageError for an unknown cache."""
        return ImageStore(samples, self.height, self.width, self.workers, self.cache)
