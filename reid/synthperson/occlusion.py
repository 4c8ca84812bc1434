"""Things between the camera and the person: a post, a hedge, a car, a railing."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reid.synthperson.panorama import CARS

SMOOTHING = 2  # things are drawn that many times larger, then reduced


def occlude(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Draw one thing over the picture, float32 (height, width, 3) in [0, 1]."""
    height, width = picture.shape[0] * SMOOTHING, picture.shape[1] * SMOOTHING
    over = Image.new("RGBA", (width, height))
    draw_thing = THINGS[int(rng.integers(len(THINGS)))]
    draw_thing(ImageDraw.Draw(over), height, width, rng)
    over = over.filter(ImageFilter.GaussianBlur(0.004 * height)).reduce(SMOOTHING)
    pixels = np.asarray(over, np.float32) / 255
    cover = pixels[..., 3:]
    picture *= 1 - cover
    picture += pixels[..., :3] * cover


def _colour(base: np.ndarray, factor: float) -> tuple[int, int, int, int]:
    red, green, blue = (np.asarray(base) * factor).clip(0, 255).astype(int).tolist()
    return red, green, blue, 255


def _post(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    x, half, tone = rng.uniform(0.1, 0.9) * width, rng.uniform(0.025, 0.05) * width, rng.uniform(80, 160)
    for place in np.linspace(-1, 1, 9):
        left = x + place * half
        draw.rectangle(
            [left, 0, left + 0.25 * half, height], fill=_colour(np.full(3, tone), 1 - 0.4 * abs(place - 0.3))
        )


def _hedge(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    top, leaf = rng.uniform(0.74, 0.88) * height, np.array([72, 92, 54])
    draw.rectangle([0, top + 0.05 * height, width, height], fill=_colour(leaf, 0.7))
    for x, y, size, tone in rng.random((260, 4)):
        x, y, r = x * width, top + y**1.5 * (height - top), (0.012 + 0.025 * size) * width
        draw.ellipse([x - r, y - r, x + r, y + r], fill=_colour(leaf, 0.6 + 0.8 * tone))


def _car(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    top, edge, colour = rng.uniform(0.68, 0.82) * height, rng.uniform(0.3, 0.7) * width, rng.choice(CARS)
    left, right = (-0.4 * width, edge) if rng.random() < 0.5 else (edge, 1.4 * width)
    for step, tone in ((0.0, 1.15), (0.03, 0.95), (0.09, 0.8), (0.16, 0.6)):
        draw.rounded_rectangle(
            [left, top + step * height, right, 1.3 * height], 0.16 * width, fill=_colour(colour, tone)
        )
    lamp = right - 0.12 * width if left < 0 else left + 0.12 * width
    draw.ellipse(
        [lamp - 0.06 * width, top + 0.07 * height, lamp + 0.06 * width, top + 0.10 * height], fill=(225, 222, 205, 255)
    )


def _railing(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    top, tone = rng.uniform(0.6, 0.75) * height, _colour(np.full(3, rng.uniform(70, 150)), 1)
    bar = max(1, width // 45)
    for y in (top, top + 0.18 * height):
        draw.line([0, y, width, y + rng.normal(0, 0.01) * height], fill=tone, width=bar)
    for x in np.arange(rng.uniform(0, 0.2), 1, 0.2) * width:
        draw.line([x, top, x, top + 0.2 * height], fill=tone, width=max(1, bar // 2))


THINGS: tuple[Callable[[ImageDraw.ImageDraw, int, int, np.random.Generator], None], ...] = (
    _post,
    _hedge,
    _car,
    _railing,
)
