"""What a camera looks at: a wide picture of ground, wall and clutter, of which every crop shows a piece."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reid.synthperson.styles import Colour
from reid.synthperson.wardrobe import pick

HEIGHT, WIDTH = 360, 640  # pixels
HORIZON = 30  # row
STATURE = 0.55  # a person whose feet are on row r is STATURE * (r - HORIZON) pixels tall

GROUNDS: dict[str, tuple[Colour, float, float]] = {  # colour, fine grain, coarse patches
    "pavement": ((0.66, 0.63, 0.59), 0.03, 0.05),
    "path": ((0.69, 0.65, 0.57), 0.04, 0.06),
    "grass": ((0.42, 0.48, 0.29), 0.11, 0.09),
    "asphalt": ((0.44, 0.44, 0.45), 0.05, 0.06),
    "slabs": ((0.55, 0.54, 0.53), 0.03, 0.06),
    "snow": ((0.80, 0.82, 0.86), 0.03, 0.10),
    "tiles": ((0.62, 0.60, 0.57), 0.015, 0.03),
    "plain": ((0.62, 0.63, 0.65), 0.0, 0.0),
    "grid": ((0.55, 0.60, 0.66), 0.0, 0.0),
}
SLABS = {"pavement": 0.9, "slabs": 1.3, "tiles": 0.7, "grid": 1.0}  # size, metres
CARS = np.array([[40, 42, 48], [150, 152, 155], [110, 32, 32], [36, 52, 84], [196, 196, 194]])


def panorama(ground_kind: str, wall_kind: str, wall_row: int, clutter: bool, rng: np.random.Generator) -> Image.Image:
    """A picture of HEIGHT x WIDTH whose ground begins at `wall_row`; the kinds are those of GROUNDS and WALLS."""
    wall, ground = WALLS[wall_kind](wall_row, rng), _ground(ground_kind, wall_row, rng)
    foot = 1 - 0.25 * np.exp(-np.arange(HEIGHT - wall_row) / 5)[:, None, None]  # the wall shades the ground beside it
    pixels = np.concatenate([wall, ground * foot if clutter else ground])
    picture = Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))
    if clutter:
        _clutter(picture, wall_row, rng)
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def _clouds(rng: np.random.Generator, height: int, grain: int) -> np.ndarray:
    """Smooth noise (height, WIDTH) of standard deviation about 1 whose blobs are `grain` pixels wide."""
    small = rng.normal(0, 1, (max(2, height // grain + 1), WIDTH // grain + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((WIDTH, height), Image.Resampling.BICUBIC))


def _texture(rng: np.random.Generator, height: int, fine: float, coarse: float) -> np.ndarray:
    """A factor round 1, (height, WIDTH, 1), with fine grain and coarse patches."""
    grain = fine * _clouds(rng, height, 1) + coarse * (_clouds(rng, height, 24) + 0.5 * _clouds(rng, height, 6))
    return 1 + grain[..., None]


def _ground(kind: str, wall_row: int, rng: np.random.Generator) -> np.ndarray:
    """The floor from the wall's foot to the lower edge, in perspective: (HEIGHT - wall_row, WIDTH, 3)."""
    height = HEIGHT - wall_row
    colour, fine, coarse = GROUNDS[kind]
    varied = np.array(colour) * rng.uniform(0.88, 1.1) + rng.normal(0, 0.02, 3)
    floor = varied * _texture(rng, height, fine, coarse)
    far = 900.0 / (np.arange(height)[:, None] + wall_row - HORIZON + 1.0)  # metres
    across = (np.arange(WIDTH)[None] - WIDTH * rng.uniform(0.2, 0.8)) * far / 300.0
    turn = rng.uniform(-0.5, 0.5)
    x, z = across * np.cos(turn) - far * np.sin(turn), across * np.sin(turn) + far * np.cos(turn)
    if kind in SLABS:
        size = SLABS[kind]
        joint = ((x / size) % 1 < 0.05) | ((z / size) % 1 < 0.07)
        worn = 1 + 0.02 * ((np.floor(x / size) * 7 + np.floor(z / size) * 13) % 5 - 2)
        floor = floor * (worn * np.where(joint, 0.82, 1.0))[..., None]
    elif kind == "asphalt":
        line = (np.abs(x - 0.5) < 0.09) | ((np.abs(x + 4) < 1.3) & ((z / 0.9) % 1 < 0.5))
        floor = np.where(line[..., None], 0.74 * _texture(rng, height, 0.04, 0.08), floor)
    elif kind in ("path", "grass"):
        grass = np.array(GROUNDS["grass"][0]) * _texture(rng, height, 0.12, 0.09)
        lawn = np.abs(x + 0.3 * np.sin(z)) > (1.8 if kind == "path" else 9.0)
        floor = np.where(lawn[..., None], grass, floor)
    return floor * (0.90 + 0.14 * np.linspace(0, 1, height))[:, None, None]


# --- walls: (height, WIDTH, 3)


def _flat(height: int, rng: np.random.Generator) -> np.ndarray:
    return np.broadcast_to(rng.uniform(0.6, 0.81, 3), (height, WIDTH, 3))


def _sky(height: int, rng: np.random.Generator) -> np.ndarray:
    haze = np.linspace(0, 0.25, height)[:, None, None] * np.array([1.0, 0.7, 0.2])
    return np.broadcast_to(np.array([0.55, 0.72, 0.92]) + haze, (height, WIDTH, 3))


def _hedge(height: int, rng: np.random.Generator) -> np.ndarray:
    return np.array([0.27, 0.34, 0.21]) * rng.uniform(0.85, 1.2) * _texture(rng, height, 0.20, 0.16)


def _brick(height: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:WIDTH]
    course = y // 7
    mortar = (y % 7 < 1) | ((x + 8 * (course % 2)) % 16 < 1)
    tone = np.where(mortar, 1.2, 1 + 0.06 * np.sin(course * 5.1 + (x // 16) * 3.7))
    return np.array([0.52, 0.37, 0.31]) * rng.uniform(0.85, 1.1) * _texture(rng, height, 0.05, 0.05) * tone[..., None]


def _plaster(height: int, rng: np.random.Generator) -> np.ndarray:
    base = np.array([0.60, 0.58, 0.55]) * rng.uniform(0.75, 1.15) + rng.normal(0, 0.03, 3)
    return base * _texture(rng, height, 0.02, 0.05)


def _concrete(height: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:WIDTH]
    return _plaster(height, rng) * np.where(((x + 20) % 110 < 2) | (y % 60 < 1), 0.75, 1.0)[..., None]


def _fence(height: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:WIDTH]
    bars = (x % 9 < 2) | (np.abs(y - height // 2) < 2)
    return np.where(bars[..., None], np.array([0.30, 0.31, 0.32]), _hedge(height, rng) * 1.2)


def _windows(
    height: int, rng: np.random.Generator, period: int, share: float, lower: float, glow: Colour
) -> np.ndarray:
    """A wall with panes every `period` pixels that fill `share` of it down to `lower`; `glow` is the light inside."""
    y, x = np.mgrid[0:height, 0:WIDTH]
    pane = ((x + 9) % period < share * period) & (y > 0.12 * height) & (y < lower * height)
    lit = 0.5 + 0.5 * np.sin((x + 9) // period * 2.3 + rng.uniform(0, 6))
    glass = (np.array([0.18, 0.21, 0.25]) + lit[..., None] * np.array(glow)) * _texture(rng, height, 0.03, 0.25)
    return np.where(pane[..., None], glass, _plaster(height, rng))


WALLS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "plain": _flat,
    "sky": _sky,
    "hedge": _hedge,
    "brick": _brick,
    "concrete": _concrete,
    "fence": _fence,
    "facade": lambda height, rng: _windows(height, rng, 48, 0.6, 0.72, (0.12, 0.16, 0.20)),
    "shop": lambda height, rng: _windows(height, rng, 74, 0.86, 0.93, (0.50, 0.40, 0.24)),
}


# --- clutter: things that stand along the wall; x, y is their foot, size the height of a person's hip


def _clutter(picture: Image.Image, wall_row: int, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(picture)
    for row in sorted(rng.integers(2, 34, size=int(rng.integers(6, 11)))):
        x, y = float(rng.integers(0, WIDTH)), float(wall_row + row)
        THINGS[pick(rng, {"car": 1.5, "post": 2, "tree": 2.5, "bin": 1, "bench": 1})](
            draw, x, y, STATURE * (y - HORIZON), rng
        )


def _tone(colour: np.ndarray | tuple, factor: float) -> tuple[int, int, int]:
    red, green, blue = (np.asarray(colour) * factor).clip(0, 255).astype(int).tolist()
    return red, green, blue


def _car(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    colour = rng.choice(CARS)
    size *= 0.55

    def box(left: float, top: float, right: float, bottom: float) -> list[float]:
        return [x + left * size, y + top * size, x + right * size, y + bottom * size]

    draw.ellipse(box(-2.3, -0.15, 2.3, 0.18), fill=(45, 45, 47))
    draw.rounded_rectangle(box(-1.3, -1.45, 1.3, -0.5), 0.35 * size, fill=_tone(colour, 1.05))
    draw.rounded_rectangle(box(-1.12, -1.30, 1.12, -0.8), 0.2 * size, fill=(70, 80, 88))
    draw.rectangle(box(-0.06, -1.3, 0.06, -0.8), fill=_tone(colour, 0.9))
    draw.rounded_rectangle(box(-2.2, -0.85, 2.2, -0.1), 0.25 * size, fill=_tone(colour, 1.0))
    draw.rounded_rectangle(box(-2.2, -0.45, 2.2, -0.1), 0.2 * size, fill=_tone(colour, 0.75))
    for wheel in (-1.4, 1.4):
        draw.ellipse(box(wheel - 0.35, -0.55, wheel + 0.35, 0.15), fill=(28, 28, 30))
        draw.ellipse(box(wheel - 0.17, -0.37, wheel + 0.17, -0.03), fill=(120, 122, 124))


def _post(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    draw.rectangle(
        [x - 0.03 * size, y - 2.2 * size, x + 0.03 * size, y], fill=_tone((118, 120, 122), rng.uniform(0.6, 1.2))
    )


def _tree(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    draw.rectangle([x - 0.06 * size, y - 1.5 * size, x + 0.06 * size, y], fill=(88, 74, 60))
    for _ in range(40):
        cx, cy = x + rng.normal(0, 0.4) * size, y + rng.normal(-1.6, 0.28) * size
        r = rng.uniform(0.08, 0.22) * size
        draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=_tone((76, 92, 56), rng.uniform(0.65, 1.35)))


def _bin(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    colour = rng.choice(np.array([[58, 78, 62], [70, 72, 76], [60, 70, 96]]))
    draw.rounded_rectangle([x - 0.15 * size, y - 0.5 * size, x + 0.15 * size, y], 0.04 * size, fill=_tone(colour, 1))
    draw.rectangle([x - 0.17 * size, y - 0.53 * size, x + 0.17 * size, y - 0.46 * size], fill=_tone(colour, 0.7))


def _bench(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    for top, bottom in ((-0.50, -0.42), (-0.38, -0.32), (-0.26, -0.20)):
        draw.rectangle([x - 0.5 * size, y + top * size, x + 0.5 * size, y + bottom * size], fill=(122, 98, 74))
    for leg in (-0.42, 0.38):
        draw.rectangle([x + leg * size, y - 0.26 * size, x + (leg + 0.04) * size, y], fill=(66, 66, 66))


THINGS: dict[str, Callable[[ImageDraw.ImageDraw, float, float, float, np.random.Generator], None]] = {
    "car": _car,
    "post": _post,
    "tree": _tree,
    "bin": _bin,
    "bench": _bench,
}
