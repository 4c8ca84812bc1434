"""Places and cameras: a panorama per camera, its light, and what its lens, sensor and encoder do to a crop."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reid.datasets.synthperson.canvas import Light
from reid.datasets.synthperson.wardrobe import Colour, pick

FRAME_HEIGHT, FRAME_WIDTH = 360, 640  # of a panorama, pixels
HORIZON = 30  # its row; feet stand on rows from NEAREST_WALL + a margin to the lower edge


@dataclass(frozen=True)
class Site:
    """Statistics of the cameras of a dataset: grounds and walls by frequency, and ranges of everything else."""

    grounds: Mapping[str, float]
    walls: Mapping[str, float]
    brightness: tuple[float, float]
    sun: float
    cast: float
    warmth: float
    blur: tuple[float, float]
    noise: tuple[float, float]
    quality: tuple[int, int]
    resolution: tuple[float, float]
    occlusion: float
    any_view: bool
    creases: float
    clutter: bool


SITES: dict[str, Site] = {
    "synth-a": Site(
        grounds={"pavement": 3, "grass": 2, "path": 3, "asphalt": 1},
        walls={"hedge": 3, "brick": 2, "facade": 2, "fence": 1},
        brightness=(0.95, 1.22), sun=0.8, cast=0.05, warmth=0.03, blur=(0.2, 0.6), noise=(0.004, 0.018),
        quality=(72, 92), resolution=(0.55, 1.0), occlusion=0.18, any_view=False, creases=0.10, clutter=True,
    ),
    "synth-b": Site(
        grounds={"asphalt": 3, "slabs": 3, "snow": 1.5, "tiles": 2},
        walls={"facade": 3, "concrete": 3, "shop": 3, "brick": 1},
        brightness=(0.62, 0.92), sun=0.15, cast=0.07, warmth=-0.05, blur=(0.4, 0.9), noise=(0.012, 0.035),
        quality=(48, 80), resolution=(0.40, 0.85), occlusion=0.25, any_view=False, creases=0.13, clutter=True,
    ),
    "synth-virtual": Site(
        grounds={"plain": 4, "grid": 2},
        walls={"plain": 4, "sky": 2},
        brightness=(0.95, 1.1), sun=0.7, cast=0.03, warmth=0.0, blur=(0.0, 0.1), noise=(0.0, 0.0),
        quality=(93, 96), resolution=(1.0, 1.0), occlusion=0.0, any_view=True, creases=0.0, clutter=False,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Camera:
    """One camera: its panorama, uint8 (FRAME_HEIGHT, FRAME_WIDTH, 3), and its constants."""

    panorama: Image.Image
    wall_row: int
    light: Light
    shadow: tuple[float, float]
    shade: float
    cast: np.ndarray
    gamma: float
    heading: float
    pitch: float
    blur: float
    noise: float
    quality: int
    resolution: float


def camera(site: Site, rng: np.random.Generator) -> Camera:
    """Draw one camera of the site."""
    sunny = rng.random() < site.sun
    level = rng.uniform(*site.brightness)
    sideways = float(rng.choice([-1, 1]) * rng.uniform(0.3, 0.9))
    direction = np.array([sideways, -0.75, 0.75])
    light = Light(
        direction=tuple(direction / np.linalg.norm(direction)),
        diffuse=0.75 if sunny else 0.42,
        ambient=0.50 if sunny else 0.64,
        gloss=0.0 if site.clutter else 0.16,
    )
    wall_row = int(rng.integers(95, 150))
    warmth = rng.normal(site.warmth, site.cast)
    cast = np.array([1 + warmth, 1 + rng.normal(0, site.cast / 3), 1 - warmth]) * level
    return Camera(
        panorama=_panorama(site, wall_row, rng),
        wall_row=wall_row,
        light=light,
        shadow=(-sideways * float(rng.uniform(0.4, 1.0)), float(rng.choice([-0.16, 0.22]))),
        shade=float(rng.uniform(0.35, 0.55)) if sunny else float(rng.uniform(0.08, 0.2)),
        cast=cast.astype(np.float32),
        gamma=float(rng.uniform(0.85, 1.2)),
        heading=float(rng.uniform(-np.pi, np.pi)),
        pitch=float(rng.uniform(0.08, 0.38)),
        blur=float(rng.uniform(*site.blur)),
        noise=float(rng.uniform(*site.noise)),
        quality=int(rng.integers(site.quality[0], site.quality[1] + 1)),
        resolution=float(rng.uniform(*site.resolution)),
    )


# --- panoramas


def _clouds(rng: np.random.Generator, height: int, width: int, grain: int) -> np.ndarray:
    """Smooth noise (height, width) of standard deviation about 1 whose blobs are `grain` pixels wide."""
    small = rng.normal(0, 1, (max(2, height // grain + 1), max(2, width // grain + 1))).astype(np.float32)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def _texture(rng: np.random.Generator, height: int, width: int, fine: float, coarse: float) -> np.ndarray:
    """A factor round 1, (height, width, 1), with fine grain and coarse patches."""
    return (
        1 + fine * _clouds(rng, height, width, 1) + coarse * _clouds(rng, height, width, 24)
        + 0.5 * coarse * _clouds(rng, height, width, 6)
    )[..., None]  # fmt: skip


GROUNDS: dict[str, tuple[Colour, float, float]] = {  # colour, fine grain, coarse patches
    "pavement": ((0.66, 0.63, 0.58), 0.03, 0.05),
    "path": ((0.70, 0.64, 0.54), 0.04, 0.06),
    "grass": ((0.36, 0.49, 0.22), 0.13, 0.10),
    "asphalt": ((0.40, 0.41, 0.43), 0.05, 0.06),
    "slabs": ((0.52, 0.52, 0.53), 0.03, 0.06),
    "snow": ((0.80, 0.82, 0.86), 0.03, 0.10),
    "tiles": ((0.62, 0.60, 0.57), 0.015, 0.03),
    "plain": ((0.62, 0.63, 0.65), 0.0, 0.0),
    "grid": ((0.55, 0.60, 0.66), 0.0, 0.0),
}


def _ground(kind: str, wall_row: int, rng: np.random.Generator) -> np.ndarray:
    """The floor from the wall's foot to the lower edge, in perspective."""
    height = FRAME_HEIGHT - wall_row
    colour, fine, coarse = GROUNDS[kind]
    varied = np.array(colour) * rng.uniform(0.85, 1.1) + rng.normal(0, 0.025, 3)
    floor = varied * _texture(rng, height, FRAME_WIDTH, fine, coarse)
    row = np.arange(height)[:, None] + wall_row - HORIZON + 1.0
    far = 300.0 / row * 3.0
    across = (np.arange(FRAME_WIDTH)[None] - FRAME_WIDTH * rng.uniform(0.2, 0.8)) * far / 300.0
    angle = rng.uniform(-0.5, 0.5)
    x, z = across * np.cos(angle) - far * np.sin(angle), across * np.sin(angle) + far * np.cos(angle)
    if kind in ("pavement", "slabs", "tiles", "grid"):
        size = {"pavement": 0.9, "slabs": 1.3, "tiles": 0.7, "grid": 1.0}[kind]
        joint = ((x / size) % 1 < 0.05) | ((z / size) % 1 < 0.07)
        parity = ((np.floor(x / size) * 7 + np.floor(z / size) * 13) % 5 - 2) * 0.02
        floor = floor * (1 + parity[..., None]) * np.where(joint, 0.80, 1.0)[..., None]
    if kind == "asphalt":
        line = (np.abs(x - 0.5) < 0.09) | ((np.abs(x + 4) < 1.3) & ((z / 0.9) % 1 < 0.5))
        floor = np.where(line[..., None], 0.78 * floor.mean() / 0.41, floor)
    if kind in ("path", "grass"):
        grass = np.array(GROUNDS["grass"][0]) * _texture(rng, height, FRAME_WIDTH, 0.14, 0.1)
        lawn = np.abs(x + 0.3 * np.sin(z)) > (1.8 if kind == "path" else 9.0)
        floor = np.where(lawn[..., None], grass, floor)
    return floor * (0.86 + 0.18 * np.linspace(0, 1, height))[:, None, None]


def _wall(kind: str, height: int, rng: np.random.Generator) -> np.ndarray:
    """What stands behind the ground: (height, FRAME_WIDTH, 3)."""
    y, x = np.mgrid[0:height, 0:FRAME_WIDTH].astype(np.float32)
    if kind == "plain":
        return np.array(rng.uniform(0.5, 0.85, 3)) * 0.6 + 0.3 + 0.0 * y[..., None]
    if kind == "sky":
        return np.array([0.55, 0.72, 0.92]) + (0.25 * y / height)[..., None] * np.array([1.0, 0.7, 0.2])
    if kind == "hedge":
        return np.array([0.20, 0.33, 0.14]) * rng.uniform(0.8, 1.2) * _texture(rng, height, FRAME_WIDTH, 0.28, 0.22)
    if kind == "brick":
        brick = np.array([0.55, 0.33, 0.25]) * rng.uniform(0.8, 1.1) * _texture(rng, height, FRAME_WIDTH, 0.05, 0.05)
        course = np.floor(y / 7)
        mortar = (y % 7 < 1) | ((x + 8 * (course % 2)) % 16 < 1)
        return np.where(
            mortar[..., None],
            brick * 1.25,
            brick * (1 + 0.06 * np.sin(course * 5.1 + np.floor(x / 16) * 3.7))[..., None],
        )
    base = np.array([0.60, 0.58, 0.55]) * rng.uniform(0.7, 1.15) + rng.normal(0, 0.03, 3)
    wall = base * _texture(rng, height, FRAME_WIDTH, 0.02, 0.05)
    if kind == "concrete":
        return wall * np.where(((x + 20) % 110 < 2) | (y % 60 < 1), 0.75, 1.0)[..., None]
    if kind == "fence":
        green = np.array([0.30, 0.42, 0.24]) * _texture(rng, height, FRAME_WIDTH, 0.2, 0.2)
        return np.where(((x % 9 < 2) | (np.abs(y - height * 0.5) < 2))[..., None], np.array([0.25, 0.26, 0.27]), green)
    period, share = (74, 0.86) if kind == "shop" else (48, 0.6)
    pane = ((x + 9) % period < share * period) & (y > 0.12 * height) & (y < (0.93 if kind == "shop" else 0.72) * height)
    tint = 0.5 + 0.5 * np.sin(np.floor((x + 9) / period) * 2.3 + rng.uniform(0, 6))
    glass = np.array([0.16, 0.19, 0.23]) + tint[..., None] * (
        np.array([0.55, 0.42, 0.22]) if kind == "shop" else np.array([0.12, 0.16, 0.2])
    )
    return np.where(pane[..., None], glass * _texture(rng, height, FRAME_WIDTH, 0.03, 0.25), wall)


def _clutter(picture: Image.Image, wall_row: int, rng: np.random.Generator) -> None:
    """Parked cars, posts, trees, bins along the wall."""
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(5, 10))):
        x = int(rng.integers(0, FRAME_WIDTH))
        y = wall_row + int(rng.integers(2, 40))
        size = 0.55 * (y - HORIZON)
        kind = pick(rng, {"car": 2, "post": 2, "tree": 2, "bin": 1, "bench": 1})
        colour = tuple(
            int(v) for v in rng.choice([[40, 42, 48], [150, 152, 155], [120, 30, 30], [30, 50, 90], [200, 200, 198]])
        )
        if kind == "car":
            draw.ellipse([x - 1.2 * size, y - 0.1 * size, x + 1.2 * size, y + 0.1 * size], fill=(35, 35, 38))
            draw.rounded_rectangle([x - 1.2 * size, y - 0.55 * size, x + 1.2 * size, y], 0.15 * size, fill=colour)
            draw.rounded_rectangle(
                [x - 0.7 * size, y - 0.92 * size, x + 0.75 * size, y - 0.45 * size], 0.2 * size, fill=colour
            )
            draw.rectangle([x - 0.58 * size, y - 0.84 * size, x + 0.62 * size, y - 0.56 * size], fill=(45, 55, 65))
            for wheel in (-0.75, 0.75):
                draw.ellipse(
                    [
                        x + wheel * size - 0.2 * size,
                        y - 0.28 * size,
                        x + wheel * size + 0.2 * size,
                        y + 0.1 * size,
                    ],
                    fill=(22, 22, 24),
                )
        elif kind == "post":
            draw.rectangle([x - 0.05 * size, y - 2.6 * size, x + 0.05 * size, y], fill=(95, 98, 100))
        elif kind == "tree":
            draw.rectangle([x - 0.1 * size, y - 2 * size, x + 0.1 * size, y], fill=(74, 58, 44))
            for _ in range(14):
                dx, dy, r = (
                    rng.uniform(-1.1, 1.1) * size,
                    rng.uniform(-3.2, -1.6) * size,
                    rng.uniform(0.25, 0.55) * size,
                )
                green = tuple(int(v) for v in np.array([52, 84, 36]) * rng.uniform(0.7, 1.3))
                draw.ellipse([x + dx - r, y + dy - r, x + dx + r, y + dy + r], fill=green)
        elif kind == "bin":
            draw.rounded_rectangle([x - 0.2 * size, y - 0.6 * size, x + 0.2 * size, y], 0.05 * size, fill=(48, 70, 52))
        else:
            draw.rectangle([x - 0.8 * size, y - 0.42 * size, x + 0.8 * size, y - 0.30 * size], fill=(110, 78, 48))
            draw.rectangle([x - 0.7 * size, y - 0.3 * size, x - 0.6 * size, y], fill=(60, 60, 60))
            draw.rectangle([x + 0.6 * size, y - 0.3 * size, x + 0.7 * size, y], fill=(60, 60, 60))


def _panorama(site: Site, wall_row: int, rng: np.random.Generator) -> Image.Image:
    wall = _wall(pick(rng, site.walls), wall_row, rng)
    ground = _ground(pick(rng, site.grounds), wall_row, rng)
    picture = Image.fromarray((np.concatenate([wall, ground]).clip(0, 1) * 255).astype(np.uint8))
    if site.clutter:
        _clutter(picture, wall_row, rng)
    return picture.filter(ImageFilter.GaussianBlur(0.7))
