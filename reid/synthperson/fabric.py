"""How clothes, skin and hair are painted: colour as a function of the place on the body.

A paint takes `angle` (n,), the angle around the body in radians (0 front, positive to the wearer's left, +-pi back),
and `down` (n,), the distance from the upper end in body heights, and returns colours (n, 3) in [0, 1] before light.
"""

from collections.abc import Callable

import numpy as np

from reid.synthperson.styles import Colour
from reid.synthperson.wardrobe import Garment

Paint = Callable[[np.ndarray, np.ndarray], np.ndarray]
Pattern = Callable[[np.ndarray, np.ndarray, float], np.ndarray]

RADIUS = 0.09  # of a torso: turns angles into lengths, so that checks are square

# Each pattern says where the second colour shows: (n,) bool or a weight in [0, 1].
_PATTERNS: dict[str, Pattern] = {
    "stripes": lambda angle, down, pitch: (down / pitch) % 1 < 0.45,
    "bands": lambda angle, down, pitch: (down / (2.2 * pitch)) % 1 < 0.3,
    "pinstripes": lambda angle, down, pitch: (angle * RADIUS / (0.6 * pitch)) % 1 < 0.3,
    "checks": lambda angle, down, pitch: (
        0.45 * ((down / pitch) % 1 < 0.5) + 0.45 * ((angle * RADIUS / pitch) % 1 < 0.5)
    ),
    "dots": lambda angle, down, pitch: (
        np.sin(np.pi * down / (0.6 * pitch)) * np.sin(np.pi * angle * RADIUS / (0.6 * pitch)) > 0.55
    ),
    "block": lambda angle, down, pitch: down > 0.10 + 2.2 * pitch,
    "yoke": lambda angle, down, pitch: down < 0.02 + 1.6 * pitch,
    "panels": lambda angle, down, pitch: np.abs(np.sin(angle)) > 0.80,
    "camouflage": lambda angle, down, pitch: (
        np.sin(5.1 * angle + 1.3 * np.sin(90 * down)) + np.sin(75 * down + 2.0 * np.sin(3.1 * angle)) > 0.35
    ),
    "quilted": lambda angle, down, pitch: -0.30 * np.abs(np.cos(np.pi * down / pitch)) ** 6,
    "faded": lambda angle, down, pitch: 0.30 * np.cos(angle).clip(0) * np.exp(-(((down - 0.12) / 0.09) ** 2)),
    "side stripe": lambda angle, down, pitch: np.abs(np.abs(angle) - np.pi / 2) < 0.28,
}


def _mix(base: np.ndarray | Colour, other: np.ndarray | Colour, weight: np.ndarray) -> np.ndarray:
    """`base` where weight is 0, `other` where it is 1."""
    base, other = np.asarray(base, np.float32), np.asarray(other, np.float32)
    return base + np.asarray(weight, np.float32)[:, None] * (other - base)


def shade(colour: Colour, factor: float) -> Colour:
    """A darker (factor below 1) or lighter colour."""
    red, green, blue = colour
    return factor * red, factor * green, factor * blue


def plain(colour: Colour) -> Paint:
    """The same colour everywhere."""
    return lambda angle, down: np.broadcast_to(np.asarray(colour, np.float32), (len(down), 3))


def layered(upper: Paint, length: float, lower: Paint) -> Paint:
    """`upper` down to `length`, `lower` below: a sleeve and the arm, shorts and the leg."""

    def paint(angle: np.ndarray, down: np.ndarray) -> np.ndarray:
        if down.max() < length:
            return upper(angle, down)
        if down.min() >= length:
            return lower(angle, down)
        return np.where((down < length)[:, None], upper(angle, down), lower(angle, down))

    return paint


def shifted(paint: Paint, offset: float) -> Paint:
    """The same paint on a limb that starts `offset` further down."""
    return lambda angle, down: paint(angle, down + offset)


def cloth(garment: Garment) -> Paint:
    """A garment without its front: sleeves, legs, skirts."""
    if garment.pattern == "plain":
        return plain(garment.colour)
    pattern = _PATTERNS[garment.pattern]
    if garment.pattern == "quilted":
        return lambda angle, down: _mix(garment.colour, (1, 1, 1), pattern(angle, down, garment.pitch)).clip(0.02)
    return lambda angle, down: _mix(garment.colour, garment.second, pattern(angle, down, garment.pitch))


def torso(garment: Garment, skin: Colour) -> Paint:
    """A garment on the torso: its pattern, its front (zip, buttons, print, tie, open over a shirt) and the neckline."""
    base, front = cloth(garment), garment.front
    dark, throat = shade(garment.colour, 0.55), shade(skin, 0.85)

    def paint(angle: np.ndarray, down: np.ndarray) -> np.ndarray:
        colours, off = base(angle, down), np.abs(angle)
        if front == "print":
            rows = np.sin(260 * down) * np.sin(23 * angle) > -0.35
            colours = _mix(colours, garment.second, (off < 0.62) & (down > 0.09) & (down < 0.17) & rows)
        elif front == "zip":
            colours = _mix(colours, dark, off < 0.07)
        elif front == "buttons":
            colours = _mix(colours, dark, 0.7 * (np.abs(angle - 0.06) < 0.05))
        elif front == "open":
            inside = off < 0.22 + 0.35 * (down / 0.4)
            colours = _mix(colours, garment.second, inside)
            colours = _mix(colours, dark, ~inside & (off < 0.30 + 0.35 * (down / 0.4)))
        elif front == "tie":
            shirt = (off < 0.42 * (1 - down / 0.2)) & (down < 0.2)
            colours = _mix(_mix(colours, (0.88, 0.88, 0.9), shirt), garment.second, shirt & (off < 0.09))
        return _mix(colours, throat, (off < 0.6) & (down < 0.036 * np.cos(angle * 2.2)))

    return paint


def strapped(paint: Paint, bag: str, colour: Colour, side: int) -> Paint:
    """Straps of a backpack (two, at the front) or of a shoulder bag (one, across the body) over a torso."""
    dark = shade(colour, 0.75)

    def over(angle: np.ndarray, down: np.ndarray) -> np.ndarray:
        if bag == "backpack":
            strap = (np.abs(np.abs(angle) - 0.75 - 1.2 * (down - 0.1)) < 0.11) & (down < 0.22)
        else:
            strap = np.abs(down - 0.16 + 0.17 * np.sin(angle * -side)) < 0.014
        return _mix(paint(angle, down), dark, strap)

    return over


# How far down the front of the head hair grows, how far down its back, and the angle from the nose where it begins.
_HAIRLINES = {
    "bald": (-1.0, -1.0, 4.0),
    "crop": (0.20, 0.62, 1.25),
    "short": (0.27, 0.70, 1.20),
    "ponytail": (0.24, 0.72, 1.30),
    "bun": (0.24, 0.72, 1.30),
    "curly": (0.33, 0.85, 1.00),
    "bob": (0.28, 0.95, 0.98),
    "long": (0.28, 0.95, 1.02),
}


def head(skin: Colour, hair: Colour, style: str, size: float) -> Paint:
    """Face, eyes, mouth and hairline on a head that is `size` body heights tall."""
    front, nape, side = _HAIRLINES[style]
    shadow, lips = shade(skin, 0.5), (0.75 * skin[0], 0.5 * skin[1], 0.5 * skin[2])

    def paint(angle: np.ndarray, down: np.ndarray) -> np.ndarray:
        place, off = down / size, np.abs(angle)
        face = _mix(skin, shadow, (np.abs(off - 0.42) < 0.17) & (np.abs(place - 0.47) < 0.06))
        face = _mix(face, lips, (off < 0.28) & (np.abs(place - 0.77) < 0.035))
        face = _mix(face, shadow, 0.4 * (off < 0.12) * (np.abs(place - 0.62) < 0.04))
        temple = side + 0.25 * np.maximum(place - 0.5, 0)
        return _mix(face, hair, (place < front - 0.05 * np.cos(angle)) | ((off > temple) & (place < nape)))

    return paint
