"""Images as pictures and files for people to look at."""

import io

from PIL import Image
from torch import Tensor

QUALITY = 92  # at which JPEG shows noise of a few grey levels


def to_image(pixels: Tensor) -> Image.Image:
    """A (3, H, W) tensor in [0, 1] as an 8-bit picture."""
    levels = (pixels.detach().cpu().clamp(0, 1) * 255).round().byte()
    return Image.fromarray(levels.permute(1, 2, 0).numpy())


def jpeg(image: Image.Image, height: int | None = None) -> bytes:
    """A picture as a JPEG file, made smaller where it is higher than `height`."""
    if height is not None and image.height > height:
        image = image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()
