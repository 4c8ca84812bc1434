"""Pictures for people, of any image."""

import io

import torch
from PIL import Image

from reid.loading.encode import jpeg, to_image


def test_the_noisiest_image_of_any_size_becomes_a_file():
    random = torch.Generator().manual_seed(0)
    for size in ((256, 128), (384, 128), (64, 32)):
        data = jpeg(to_image(torch.rand(3, *size, generator=random)))
        assert Image.open(io.BytesIO(data)).size == size[::-1]
