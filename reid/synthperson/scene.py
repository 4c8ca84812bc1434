"""The four places and their cameras: view, light, and what lens, sensor and encoder do to a crop."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from reid.synthperson.canvas import Light
from reid.synthperson.panorama import GROUNDS, WALLS, panorama
from reid.synthperson.styles import ANYWHERE, GAME, SUMMER_CAMPUS, WINTER_CITY, Style


@dataclass(frozen=True)
class Site:
    """A place: its people, its kinds of ground and wall, and the ranges of its cameras.

    `any_view`: people turn every way, instead of walking to and fro on a path that a camera sees from one side.
    `clutter`: a real place, with things, passers-by and occlusion, not a rendered stage.
    """

    style: Style
    grounds: tuple[str, ...]
    walls: tuple[str, ...]
    brightness: tuple[float, float]
    saturation: tuple[float, float]
    sun: float
    cast: float
    warmth: float
    haze: tuple[float, float]
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
        style=SUMMER_CAMPUS,
        grounds=("pavement", "grass", "path", "slabs"),
        walls=("hedge", "brick", "facade", "fence"),
        brightness=(0.95, 1.15), saturation=(0.72, 0.95), sun=0.8, cast=0.04, warmth=0.03, haze=(0.02, 0.07),
        blur=(0.2, 0.6), noise=(0.003, 0.012), quality=(72, 92), resolution=(0.60, 1.0),
        occlusion=0.16, any_view=False, creases=0.07, clutter=True,
    ),
    "synth-b": Site(
        style=WINTER_CITY,
        grounds=("asphalt", "slabs", "snow", "tiles"),
        walls=("facade", "concrete", "shop", "brick"),
        brightness=(0.72, 0.98), saturation=(0.50, 0.80), sun=0.15, cast=0.05, warmth=-0.05, haze=(0.04, 0.12),
        blur=(0.4, 0.8), noise=(0.008, 0.022), quality=(50, 80), resolution=(0.45, 0.85),
        occlusion=0.22, any_view=False, creases=0.10, clutter=True,
    ),
    "synth-virtual": Site(
        style=GAME,
        grounds=("plain", "grid"),
        walls=("plain", "sky"),
        brightness=(0.95, 1.1), saturation=(1.0, 1.0), sun=0.7, cast=0.03, warmth=0.0, haze=(0.0, 0.0),
        blur=(0.0, 0.1), noise=(0.0, 0.0), quality=(93, 96), resolution=(1.0, 1.0),
        occlusion=0.0, any_view=True, creases=0.0, clutter=False,
    ),
    "synth-wide": Site(
        style=ANYWHERE,
        grounds=tuple(GROUNDS),
        walls=tuple(WALLS),
        brightness=(0.65, 1.25), saturation=(0.40, 1.10), sun=0.5, cast=0.10, warmth=0.0, haze=(0.0, 0.15),
        blur=(0.0, 1.0), noise=(0.0, 0.03), quality=(40, 96), resolution=(0.35, 1.0),
        occlusion=0.2, any_view=True, creases=0.08, clutter=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Camera:
    """One camera: its site, its panorama whose ground begins at `wall_row`, and its constants."""

    site: Site
    panorama: Image.Image
    wall_row: int
    light: Light
    shadow: tuple[float, float]
    shade: float
    cast: np.ndarray
    saturation: float
    tones: list[int]  # what becomes of each of the 256 brightnesses
    heading: float
    pitch: float
    blur: float
    noise: float
    quality: int
    resolution: float


def camera(site: Site, ground: str, wall: str, rng: np.random.Generator) -> Camera:
    """Draw one camera of the site that looks at this kind of ground and wall."""
    sunny = rng.random() < site.sun
    sideways = float(rng.choice([-1, 1]) * rng.uniform(0.3, 0.9))
    direction = np.array([sideways, -0.75, 0.75]) / np.linalg.norm([sideways, -0.75, 0.75])
    warmth = rng.normal(site.warmth, site.cast)
    cast = np.array([1 + warmth, 1 + rng.normal(0, site.cast / 3), 1 - warmth]) * rng.uniform(*site.brightness)
    wall_row = int(rng.integers(90, 140))
    return Camera(
        site=site,
        panorama=panorama(ground, wall, wall_row, site.clutter, rng),
        wall_row=wall_row,
        light=Light(
            direction=(float(direction[0]), float(direction[1]), float(direction[2])),
            diffuse=0.66 if sunny else 0.38,
            ambient=0.50 if sunny else 0.66,
            gloss=0.0 if site.clutter else 0.14,
        ),
        shadow=(-sideways * float(rng.uniform(0.4, 1.0)), float(rng.choice([-0.16, 0.22]))),
        shade=float(rng.uniform(0.30, 0.48) if sunny else rng.uniform(0.06, 0.16)),
        cast=cast.astype(np.float32),
        saturation=float(rng.uniform(*site.saturation)),
        tones=_tones(gamma=rng.uniform(0.85, 1.15), haze=rng.uniform(*site.haze)),
        heading=float(rng.uniform(-np.pi, np.pi)),
        pitch=float(rng.uniform(0.08, 0.35)),
        blur=float(rng.uniform(*site.blur)),
        noise=float(rng.uniform(*site.noise)),
        quality=int(rng.integers(site.quality[0], site.quality[1] + 1)),
        resolution=float(rng.uniform(*site.resolution)),
    )


def _tones(gamma: float, haze: float) -> list[int]:
    """The response curve of a sensor behind a hazy lens: black is lifted to `haze`, white stays white."""
    curve = haze + (1 - haze) * np.linspace(0, 1, 256) ** gamma
    return (255 * curve).round().astype(int).tolist()
