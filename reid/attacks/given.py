"""An attack that others made: the images that they give, by their places among the queries or in the gallery."""

from collections.abc import Mapping

from reid.attacks.base import Attack, AttackBatch, Attacked
from reid.attacks.folders import grey_levels
from reid.attacks.threat import Threat
from reid.errors import UsageError
from reid.loading import ImageStore, to_images
from reid.models.victim import Victim


class GivenImages(Attack):
    """The images of `stores`, by the side whose images they stand for, each at the place of the image that it was made
    of. Rounding, where they are resized, adds no grey level beyond `threat`."""

    kind = "external"

    def __init__(self, stores: Mapping[str, ImageStore], threat: Threat) -> None:
        self.stores, self.threat = stores, threat

    def attack(self, victim: Victim, batch: AttackBatch) -> Attacked:
        if batch.places is None or batch.side not in self.stores:
            raise UsageError("given images stand for those of a set; score them by python -m reid.leaderboard.add")
        images = to_images(self.stores[batch.side].batch(batch.places.tolist()), batch.images.device)
        most = grey_levels(self.threat) / 255
        return Attacked(images.clamp(batch.images - most, batch.images + most), {})
