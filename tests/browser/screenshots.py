"""The windows that pages are looked at in, and how different two screenshots are."""

import numpy as np
from PIL import Image

VIEWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]
TILE = 16  # pixels, after a screenshot was made smaller twice
NOTICED = 8.0  # grey levels of 255, mean over a tile


def small(screenshot: Image.Image) -> Image.Image:
    """What is kept of it: half its size, few colours."""
    return screenshot.convert("RGB").reduce(2).quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def difference(first: Image.Image, second: Image.Image) -> float:
    """The share of tiles that look different; 1 where the widths differ, or the heights by more than 2 %."""
    if first.width != second.width or abs(first.height - second.height) > 0.02 * first.height:
        return 1.0
    size = first.width, min(first.height, second.height)
    one, other = (np.asarray(each.convert("RGB").crop((0, 0, *size)).reduce(2), float) for each in (first, second))
    apart = np.abs(one - other).max(axis=2)
    rows, columns = (length // TILE for length in apart.shape)
    tiles = apart[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE).mean(axis=(1, 3))
    return float((tiles > NOTICED).mean())
