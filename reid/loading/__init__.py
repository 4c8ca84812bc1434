"""From disk to batches: decoded images, P x K sampling, batched augmentation."""

from reid.loading.sampler import PKSampler
from reid.loading.store import Images, ImageStore, to_images

__all__ = ["ImageStore", "Images", "PKSampler", "to_images"]
