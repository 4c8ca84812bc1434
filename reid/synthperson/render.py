"""One crop of one person by one camera: background, shadow, figure, occlusion, then lens, sensor and encoder."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from reid.synthperson.canvas import Canvas, Point
from reid.synthperson.figure import Figure
from reid.synthperson.occlusion import occlude
from reid.synthperson.panorama import HEIGHT, HORIZON, STATURE, WIDTH
from reid.synthperson.pose import draw_pose
from reid.synthperson.scene import SITES, Camera, camera
from reid.synthperson.wardrobe import Identity, identity

SUPERSAMPLING = 2
# What a random stream is for: streams of different kinds never meet, whatever the numbers after them.
IDENTITY, CAMERA, IMAGE, PLACES = 0, 1, 2, 3


def stream(name: str, seed: int, kind: int, *numbers: int) -> np.random.Generator:
    """The random numbers of one thing: they depend on nothing but these arguments."""
    return np.random.default_rng([list(SITES).index(name), seed, kind, *(number + 1 for number in numbers)])


@lru_cache(maxsize=128)
def _camera(name: str, seed: int, cam: int) -> Camera:
    site, places = SITES[name], stream(name, seed, PLACES)
    ground, wall = places.permutation(site.grounds), places.permutation(site.walls)  # cameras differ as far as they can
    return camera(site, str(ground[cam % len(ground)]), str(wall[cam % len(wall)]), stream(name, seed, CAMERA, cam))


@lru_cache(maxsize=128)
def _identity(name: str, seed: int, pid: int) -> Identity:
    return identity(SITES[name].style, stream(name, seed, IDENTITY, pid))


def render(name: str, seed: int, pid: int, cam: int, index: int, height: int, width: int) -> bytes:
    """JPEG bytes of image `index` of person `pid` in camera `cam`; pids 0 and -1 are boxes in the wrong place."""
    rng, view = stream(name, seed, IMAGE, pid, cam, index), _camera(name, seed, cam)
    known = pid > 0
    who = _identity(name, seed, pid) if known else identity(view.site.style, rng)
    return _develop(_compose(view, who, known, height, width, rng), view, rng)


def _compose(
    view: Camera, who: Identity, well_cut: bool, height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """The scene as the lens gets it: float32 (height, width, 3), mostly in [0, 1]."""
    share = rng.uniform(0.80, 0.93) * (who.stature / 1.71) ** 0.35
    foot = (width * (0.5 + rng.normal(0, 0.035)), height * (0.5 + share / 2 + rng.normal(0, 0.012)))
    if not well_cut:
        share *= rng.uniform(0.8, 2.0)
        foot = (width * rng.uniform(-0.3, 1.3), height * rng.uniform(0.6, 1.8))
    unit = share * height
    picture = _background(view, unit, foot, height, width, rng)
    if view.site.clutter and rng.random() < 0.12:
        aside = foot[0] + width * rng.choice([-1, 1]) * rng.uniform(0.38, 0.6)
        passer_by = identity(view.site.style, rng)
        _stand(picture, view, passer_by, (aside, foot[1] - height * rng.uniform(0.02, 0.08)), 0.92 * unit, rng)
    _stand(picture, view, who, foot, unit, rng)
    if rng.random() < view.site.occlusion:
        occlude(picture, rng)
    return picture


def _background(
    view: Camera, unit: float, foot: Point, height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """A piece of the panorama in which somebody of `unit` pixels stands at `foot`."""
    row = view.wall_row + 22 + rng.beta(1.2, 1.8) * (HEIGHT - 30 - view.wall_row)
    zoom = unit / (STATURE * (row - HORIZON))
    left = rng.uniform(0, max(1.0, WIDTH - width / zoom))
    top = row - foot[1] / zoom
    shift = (1 / zoom, 0, left, 0, 1 / zoom, top)
    piece = view.panorama.transform((width, height), Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)
    # Beyond the upper and the lower edge of the panorama its last row goes on.
    first = int(np.clip(1 - top * zoom, 0, height - 1))
    last = int(np.clip((HEIGHT - 1 - top) * zoom - 1, 0, height - 1))
    return (np.asarray(piece, np.float32) / 255)[np.arange(height).clip(first, last)]


def _stand(
    picture: np.ndarray, view: Camera, who: Identity, foot: Point, unit: float, rng: np.random.Generator
) -> None:
    """Draw a person and the shadow on the ground into the picture."""
    height, width = picture.shape[:2]
    scale = SUPERSAMPLING
    place = (scale * foot[0], scale * foot[1])
    canvas = Canvas(scale * height, scale * width, place, scale * unit, view.light, rng.uniform(0, 2 * np.pi, 3))
    if view.site.any_view:
        yaw = rng.uniform(-np.pi, np.pi)
    else:
        yaw = view.heading + rng.choice([0, np.pi]) + rng.normal(0, 0.45)
    Figure(canvas, who, draw_pose(rng, float(yaw), view.pitch), view.site.creases).draw()
    colours, cover = _reduce(canvas.colours, scale), _reduce(canvas.cover, scale)
    _shadow(picture, view, cover, foot, unit)
    picture *= 1 - cover[..., None]
    picture += colours


def _reduce(picture: np.ndarray, scale: int) -> np.ndarray:
    """Means of blocks of scale x scale pixels (adding slices is several times faster than numpy's mean over axes)."""
    rows = sum(picture[i::scale] for i in range(1, scale)) + picture[::scale]
    return (sum(rows[:, i::scale] for i in range(1, scale)) + rows[:, ::scale]) / np.float32(scale**2)


def _shadow(picture: np.ndarray, view: Camera, cover: np.ndarray, foot: Point, unit: float) -> None:
    """The figure laid on the ground away from the light, and a soft dark patch under the feet."""
    height, width = cover.shape
    across, away = view.shadow
    slant = across / away * 0.5
    lay = (1, slant, -slant * foot[1], 0, 1 / away, foot[1] - foot[1] / away)
    shape = Image.fromarray((cover * 255).astype(np.uint8))
    cast = shape.transform((width, height), Image.Transform.AFFINE, lay, Image.Resampling.BILINEAR)
    cast = cast.filter(ImageFilter.GaussianBlur(0.008 * unit))
    beside = np.exp(-(((np.arange(width, dtype=np.float32) - foot[0]) / (0.13 * unit)) ** 2))
    before = np.exp(-(((np.arange(height, dtype=np.float32) - foot[1]) / (0.035 * unit)) ** 2))
    dark = np.asarray(cast, np.float32) * np.float32(view.shade / 255) + np.float32(0.42) * before[:, None] * beside
    picture *= (1 - dark.clip(0, 0.75))[..., None]


def _develop(picture: np.ndarray, view: Camera, rng: np.random.Generator) -> bytes:
    """Colour cast, saturation, tones, resolution, blur, noise, JPEG; the exposure changes between images."""
    height, width = picture.shape[:2]
    grey = (picture[..., :1] + picture[..., 1:2] + picture[..., 2:]) / 3
    picture = (grey + np.float32(view.saturation) * (picture - grey)) * (
        view.cast * np.float32(rng.uniform(0.93, 1.07))
    )
    image = Image.fromarray((picture.clip(0, 1) * 255 + np.float32(0.5)).astype(np.uint8)).point(view.tones * 3)
    if view.resolution < 1:
        detail = view.resolution * rng.uniform(0.8, 1.0)
        small = (max(2, round(width * detail)), max(2, round(height * detail)))
        image = image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BICUBIC)
    image = image.filter(ImageFilter.GaussianBlur(view.blur * height / 128))
    if view.noise:
        grain = rng.standard_normal((height, width, 4), dtype=np.float32) * np.float32(255 * view.noise)
        noisy = np.asarray(image) + grain[..., 3:] + np.float32(0.4) * grain[..., :3]
        image = Image.fromarray((noisy + np.float32(0.5)).clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=view.quality)
    return file.getvalue()
