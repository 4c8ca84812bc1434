"""One crop of one person by one camera: background, shadow, figure, occlusion, then lens, sensor and encoder."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reid.datasets.synthperson import figure
from reid.datasets.synthperson.canvas import Canvas
from reid.datasets.synthperson.scene import FRAME_HEIGHT, FRAME_WIDTH, HORIZON, SITES, Camera, Site, camera
from reid.datasets.synthperson.wardrobe import STYLES, Identity, identity

STYLE_OF = {"synth-a": "summer campus", "synth-b": "winter city", "synth-virtual": "game"}
SUPERSAMPLING = 2
# What a random stream is for: streams of different kinds never meet, whatever the numbers after them.
IDENTITY, CAMERA, IMAGE = 0, 1, 2


def stream(name: str, seed: int, kind: int, *numbers: int) -> np.random.Generator:
    """The random numbers of one thing: they depend on nothing but these arguments."""
    return np.random.default_rng([list(SITES).index(name), seed, kind, *(number + 1 for number in numbers)])


@lru_cache(maxsize=64)
def _camera(name: str, seed: int, cam: int) -> Camera:
    return camera(SITES[name], stream(name, seed, CAMERA, cam))


@lru_cache(maxsize=64)
def _identity(name: str, seed: int, pid: int) -> Identity:
    return identity(STYLES[STYLE_OF[name]], stream(name, seed, IDENTITY, pid))


def render(name: str, seed: int, pid: int, cam: int, index: int, height: int, width: int) -> bytes:
    """JPEG bytes of image `index` of person `pid` in camera `cam`; pids 0 and -1 are boxes in the wrong place."""
    rng = stream(name, seed, IMAGE, pid, cam, index)
    site, view = SITES[name], _camera(name, seed, cam)
    who = _identity(name, seed, pid) if pid > 0 else identity(STYLES[STYLE_OF[name]], rng)
    bad = pid <= 0
    picture = _compose(site, view, who, bad, height, width, rng)
    return _develop(picture, view, rng)


def _compose(
    site: Site, view: Camera, who: Identity, bad: bool, height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """The scene as the lens gets it: float32 (height, width, 3) in [0, 1]."""
    share = rng.uniform(0.80, 0.93) * (who.stature / 1.71) ** 0.35
    foot = (width * (0.5 + rng.normal(0, 0.035)), height * (0.5 + share / 2 + rng.normal(0, 0.012)))
    if bad:
        share *= rng.uniform(0.8, 2.0)
        foot = (width * rng.uniform(-0.3, 1.3), height * rng.uniform(0.6, 1.8))
    unit = share * height
    picture = _background(view, unit, foot, height, width, rng)
    if site.clutter and rng.random() < 0.15:
        aside = foot[0] + width * rng.choice([-1, 1]) * rng.uniform(0.35, 0.6)
        other = identity(STYLES[STYLE_OF[_name(site)]], rng)
        _stand(picture, site, view, other, (aside, foot[1] - height * rng.uniform(0.02, 0.08)), unit * 0.92, rng)
    _stand(picture, site, view, who, foot, unit, rng)
    if rng.random() < site.occlusion:
        _occlude(picture, view, rng)
    return picture


def _name(site: Site) -> str:
    return next(name for name, known in SITES.items() if known is site)


def _background(
    view: Camera, unit: float, foot: tuple[float, float], height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """A piece of the panorama in which somebody of `unit` pixels stands at `foot`."""
    row = rng.uniform(view.wall_row + 45, FRAME_HEIGHT - 8)
    zoom = unit / (0.55 * (row - HORIZON))
    left = rng.uniform(0, max(1.0, FRAME_WIDTH - width / zoom))
    top = row - foot[1] / zoom
    box = np.array([left, top, left + width / zoom, top + height / zoom])
    corner = Image.Transform.AFFINE
    matrix = ((box[2] - box[0]) / width, 0, box[0], 0, (box[3] - box[1]) / height, box[1])
    bounded = view.panorama.transform((width, height), corner, matrix, Image.Resampling.BILINEAR)
    picture = np.asarray(bounded, np.float32) / 255
    lowest = int(np.clip((FRAME_HEIGHT - 1 - box[1]) * zoom, 1, height))
    highest = int(np.clip(-box[1] * zoom + 1, 0, height - 1))
    rows = np.arange(height).clip(highest, lowest - 1)
    return picture[rows]


def _stand(
    picture: np.ndarray, site: Site, view: Camera, who: Identity, foot: tuple[float, float], unit: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Draw a person and the shadow on the ground into the picture."""
    height, width = picture.shape[:2]
    scale = SUPERSAMPLING
    canvas = Canvas(
        scale * height,
        scale * width,
        (scale * foot[0], scale * foot[1]),
        scale * unit,
        view.light,
        rng.uniform(0, 6.28, 3),
    )
    if site.any_view:
        yaw = rng.uniform(-np.pi, np.pi)
    else:
        yaw = view.heading + rng.choice([0, np.pi]) + rng.normal(0, 0.45)
    figure.Figure(canvas, who, figure.pose(rng, float(yaw), view.pitch), site.creases).draw()
    colours, cover = _reduce(canvas.colours, scale), _reduce(canvas.cover, scale)
    _shadow(picture, view, cover, foot, unit)
    picture *= 1 - cover[..., None]
    picture += colours


def _reduce(picture: np.ndarray, scale: int) -> np.ndarray:
    """Means of blocks of scale x scale pixels (adding slices is several times faster than numpy's mean over axes)."""
    rows = sum(picture[i::scale] for i in range(1, scale)) + picture[::scale]
    return (sum(rows[:, i::scale] for i in range(1, scale)) + rows[:, ::scale]) / scale**2


def _shadow(picture: np.ndarray, view: Camera, cover: np.ndarray, foot: tuple[float, float], unit: float) -> None:
    """The figure laid on the ground away from the light, and a soft dark patch under the feet."""
    height, width = cover.shape
    across, away = view.shadow
    shape = Image.fromarray((cover * 255).astype(np.uint8))
    slant = across / away * 0.5
    matrix = (1, slant, -slant * foot[1], 0, 1 / away, foot[1] - foot[1] / away)
    cast = shape.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    cast = cast.filter(ImageFilter.GaussianBlur(0.008 * unit))
    y, x = np.ogrid[0:height, 0:width]
    patch = np.exp(-(((x - foot[0]) / (0.13 * unit)) ** 2) - ((y - foot[1]) / (0.035 * unit)) ** 2)
    dark = view.shade * np.asarray(cast, np.float32) / 255 + 0.45 * patch
    picture *= (1 - dark.clip(0, 0.75))[..., None]


def _occlude(picture: np.ndarray, view: Camera, rng: np.random.Generator) -> None:
    """Something between the camera and the person: a post, a hedge, a car, a railing."""
    height, width = picture.shape[:2]
    cover = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(cover)
    kind = rng.choice(["post", "hedge", "car", "railing"])
    if kind == "post":
        x, half = rng.uniform(0.1, 0.9) * width, rng.uniform(0.02, 0.05) * width
        tone = int(rng.integers(60, 150))
        draw.rectangle([x - half, 0, x + half, height], fill=(tone, tone, tone))
        draw.rectangle([x + 0.3 * half, 0, x + half, height], fill=(tone - 30, tone - 30, tone - 28))
    elif kind == "hedge":
        top = rng.uniform(0.72, 0.88) * height
        for _ in range(60):
            x, y, r = rng.uniform(0, width), rng.uniform(top, height), rng.uniform(0.03, 0.07) * width
            green = tuple(int(v) for v in np.array([50, 82, 36]) * rng.uniform(0.6, 1.4))
            draw.ellipse([x - r, y - r, x + r, y + r], fill=green)
        draw.rectangle([0, top + 0.08 * height, width, height], fill=(44, 72, 32))
    elif kind == "car":
        top, edge = rng.uniform(0.68, 0.82) * height, rng.uniform(0.3, 0.7) * width
        colour = tuple(int(v) for v in rng.choice([[40, 42, 48], [170, 172, 175], [120, 30, 30], [30, 50, 90]]))
        sides = (-0.3 * width, edge) if rng.random() < 0.5 else (edge, 1.3 * width)
        draw.rounded_rectangle([sides[0], top, sides[1], 1.3 * height], 0.14 * width, fill=colour)
        draw.line(
            [sides[0], top + 0.05 * height, sides[1], top + 0.05 * height],
            fill=tuple(min(255, v + 50) for v in colour),
        )
    else:
        top = rng.uniform(0.6, 0.75) * height
        for y in (top, top + 0.16 * height):
            draw.line(
                [0, y, width, y + rng.normal(0, 0.02) * height],
                fill=(120, 122, 124),
                width=max(1, width // 40),
            )
    picture[:] = np.asarray(cover, np.float32) / 255


def _develop(picture: np.ndarray, view: Camera, rng: np.random.Generator) -> bytes:
    """Colour cast, gamma, resolution, blur, noise and JPEG, with a little change of exposure between images."""
    height, width = picture.shape[:2]
    exposed = (picture * view.cast * rng.uniform(0.93, 1.07)).clip(0, 1) ** view.gamma
    image = Image.fromarray((exposed * 255).round().astype(np.uint8))
    detail = view.resolution * rng.uniform(0.8, 1.0) if view.resolution < 1 else 1.0
    if detail < 1:
        small = (max(2, round(width * detail)), max(2, round(height * detail)))
        image = image.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR)
    image = image.filter(ImageFilter.GaussianBlur(view.blur * height / 128))
    if view.noise:
        grain = rng.normal(0, 255 * view.noise, (height, width, 1)) + rng.normal(
            0, 100 * view.noise, (height, width, 3)
        )
        image = Image.fromarray((np.asarray(image) + grain).round().clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=view.quality)
    return file.getvalue()
