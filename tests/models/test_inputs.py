"""The first layer of a victim: images in [0, 1] become what the network was trained on."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from reid import UsageError, models
from reid.models.readings import IMAGENET_MEAN, IMAGENET_STD


def test_channels_scale_mean_and_deviation(images):
    spec = models.InputSpec(64, 32, channels="bgr", scale=255, mean=(104, 117, 123), std=(1, 2, 4))
    wanted = (255 * images.numpy()[:, ::-1] - np.reshape((104, 117, 123), (3, 1, 1))) / np.reshape((1, 2, 4), (3, 1, 1))
    np.testing.assert_allclose(spec.layer()(images).numpy(), wanted, rtol=1e-5, atol=1e-4)


def test_by_default_the_network_takes_images_as_they_are(images):
    assert torch.equal(models.InputSpec(64, 32).layer()(images), images)


@pytest.mark.parametrize("size", [(32, 16), (96, 80)])
@pytest.mark.parametrize(("resize", "filter"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_images_of_another_size_are_resized_as_pillow_does(resize, filter, size):
    pixels = torch.randint(64, 192, (3, 64, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    resized = models.InputSpec(*size, resize=resize).layer()(pixels[None] / 255)[0] * 255
    pillow = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize(size[::-1], filter)
    assert (resized.permute(1, 2, 0) - torch.from_numpy(np.array(pillow))).abs().max() < 1.5


def test_a_bicubic_resize_stays_in_the_range_of_images(images):
    resized = models.InputSpec(96, 80, resize="bicubic").layer()(images.round())
    assert (resized.min(), resized.max()) == (0, 1)


def test_nearest_and_none(images):
    assert torch.equal(models.InputSpec(32, 32, resize="nearest").layer()(images), interpolate(images, (32, 32)))
    assert torch.equal(models.InputSpec(32, 32, resize=None).layer()(images), images)


def test_gradients_flow_through_a_resize(images):
    layer = models.InputSpec(17, 9, channels="bgr", mean=(0.5, 0.5, 0.5)).layer()
    assert torch.autograd.gradcheck(lambda x: layer.double()(x), images[:1, :, :12, :6].double().requires_grad_())


def test_it_has_nothing_in_the_state_dict():
    layer = models.InputSpec(8, 8, mean=IMAGENET_MEAN, std=IMAGENET_STD).layer()
    assert not layer.state_dict()
    assert not list(layer.parameters())
    assert layer.to(torch.float64).mean.dtype == torch.float64


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"height": 0}, "0 x 8 pixels"),
        ({"resize": "lanczos"}, "lanczos"),
        ({"channels": "rgba"}, "neither rgb nor bgr"),
        ({"std": (1, 0, 1)}, "above 0"),
        ({"scale": 0}, "above 0"),
        ({"mean": (0.5,)}, "three numbers"),
    ],
)
def test_what_cannot_be_is_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        models.InputSpec(**{"height": 8, "width": 8} | wrong)


def test_a_model_of_ours_says_what_it_takes(small, images):
    spec = small.input
    assert (spec.height, spec.width, spec.resize, spec.mean, spec.std) == (256, 128, None, IMAGENET_MEAN, IMAGENET_STD)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.equal(small.normalise(images), (images - mean) / std)
