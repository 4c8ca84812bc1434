"""What cameras and files do to images."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image

from reid.attacks import AttackBatch, perform
from reid.attacks.distortions import JPEG, Blur, EightBits
from reid.models import Victim

VICTIM = Victim(lambda images: images.mean((2, 3)))


def distorted(attack, images):
    return perform(attack, VICTIM, AttackBatch(images)).images


def test_8_bits_leave_images_of_8_bits_alone_and_round_others(images):
    assert torch.equal(distorted(EightBits(), images), images)
    assert torch.equal(distorted(EightBits(), images * 0.99 + 0.0005), (images * 0.99 + 0.0005).mul(255).round() / 255)


def test_jpeg_is_what_a_file_gives(images):
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for quality in (20, 75):
        result = distorted(JPEG(quality), images)
        for image, expected in zip(result, pixels, strict=True):
            Image.fromarray(expected).save(file := BytesIO(), "JPEG", quality=quality)
            read = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1) / 255
            torch.testing.assert_close(image, read)
    assert not torch.equal(distorted(JPEG(20), images), distorted(JPEG(75), images))


def test_blur_is_the_mean_of_nine_and_keeps_what_is_even(images):
    blurred = distorted(Blur(), images)
    torch.testing.assert_close(blurred[:, :, 5, 3], images[:, :, 4:7, 2:5].mean((2, 3)))
    even = torch.full_like(images, 0.25)
    torch.testing.assert_close(distorted(Blur(), even), even)
