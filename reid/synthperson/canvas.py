"""One drawing primitive: a lit tube. A limb, a torso, a skirt, a head and a bag are all tubes of varying width."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reid.synthperson.fabric import Paint

Point = tuple[float, float]
STEPS = 64  # steps along a tube at which its width is known
ALONG = np.linspace(0, 1, STEPS, dtype=np.float32)


@dataclass(frozen=True)
class Light:
    """Direction towards the light (x right, y down, z towards the viewer), and how strong it and the sky are."""

    direction: tuple[float, float, float]
    diffuse: float
    ambient: float
    gloss: float = 0.0


class Canvas:
    """Colours (H, W, 3) and coverage (H, W), float32; `unit` pixels are one body height, (0, 0) is between the feet."""

    def __init__(self, height: int, width: int, foot: Point, unit: float, light: Light, folds: np.ndarray) -> None:
        self.colours = np.zeros((height, width, 3), np.float32)
        self.cover = np.zeros((height, width), np.float32)
        self.foot, self.unit, self.light, self.folds = foot, unit, light, folds.astype(np.float32)

    def tube(
        self,
        start: Point,
        end: Point,
        widths: np.ndarray,
        paint: Paint,
        yaw: float = 0.0,
        crease: float = 0.0,
        relief: float = 1.0,
    ) -> None:
        """Draw a tube from `start` to `end` (x right, y up, body heights) over what is already there.

        `widths` (STEPS,) are half-widths at even steps along it; `yaw` is how far its front is turned to the viewer's
        right; `crease` is the depth of the folds, 0 for skin; `relief` is how much the light follows the changes of
        width: 0 hides the round ends of a limb, so that joints do not show.
        """
        axis_x, axis_y = end[0] - start[0], start[1] - end[1]
        length = float(np.hypot(axis_x, axis_y)) or 1e-6
        ahead = (axis_x / length, axis_y / length)
        rows, columns, corner = self._grid(start, end, float(widths.max()))
        per_step = (STEPS - 1) / length
        step = columns * np.float32(ahead[0] * per_step) + rows * np.float32(ahead[1] * per_step)
        across = columns * np.float32(ahead[1]) - rows * np.float32(ahead[0])
        nearest = (step + np.float32(1.5)).astype(np.int32).clip(0, STEPS + 1)  # in a table that is 0 beyond both ends
        half = np.concatenate([[0], widths, [0]]).astype(np.float32).take(nearest)
        inside = np.flatnonzero(np.abs(across) < half)
        if not len(inside):
            return
        side = across.take(inside) / half.take(inside)
        turn = np.arcsin(side)
        down = step.take(inside) * np.float32(1 / per_step)
        slope = relief * _slope(widths, length).take(nearest.take(inside) - 1) if relief else np.float32(0)
        bright = self._brightness(side, slope, ahead)
        if crease:
            bright *= 1 + np.float32(crease) * self._folds(turn, down)
        angle = turn + np.float32(np.pi - yaw % (2 * np.pi))
        angle += np.where(angle < 0, np.float32(np.pi), np.float32(-np.pi))
        row, column = np.divmod(inside, across.shape[1])
        pixels = (row + corner[0]) * self.cover.shape[1] + (column + corner[1])
        self.colours.reshape(-1, 3)[pixels] = paint(angle, down) * bright[:, None]
        self.cover.reshape(-1)[pixels] = 1.0

    def _grid(self, start: Point, end: Point, reach: float) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Rows and columns of the tube's bounding box in body heights relative to its start, and its corner's pixel."""
        height, width = self.cover.shape
        foot_x, foot_y, unit = *self.foot, self.unit
        x0 = max(0, int((min(start[0], end[0]) - reach) * unit + foot_x))
        x1 = min(width, int((max(start[0], end[0]) + reach) * unit + foot_x) + 2)
        y0 = max(0, int(foot_y - (max(start[1], end[1]) + reach) * unit))
        y1 = min(height, int(foot_y - (min(start[1], end[1]) - reach) * unit) + 2)
        rows = (np.arange(y0, max(y0, y1)) + 0.5 - foot_y) / unit + start[1]
        columns = (np.arange(x0, max(x0, x1)) + 0.5 - foot_x) / unit - start[0]
        return rows.astype(np.float32)[:, None], columns.astype(np.float32)[None], (y0, x0)

    def _brightness(self, side: np.ndarray, slope: np.ndarray | np.float32, ahead: Point) -> np.ndarray:
        """Lambert's law (and a highlight where the light has gloss) on the surface of the tube."""
        x, y, z = (np.float32(value) for value in self.light.direction)
        facing = side * np.float32(ahead[1] * x - ahead[0] * y) + np.sqrt(1 - side * side) * z
        facing = (facing - slope * np.float32(ahead[0] * x + ahead[1] * y)) / np.sqrt(1 + slope * slope)
        lambert = np.maximum(facing, 0)
        bright = np.float32(self.light.ambient) + np.float32(self.light.diffuse) * lambert
        if self.light.gloss:
            bright += np.float32(self.light.gloss) * lambert**12
        return bright

    def _folds(self, turn: np.ndarray, down: np.ndarray) -> np.ndarray:
        """Creases of cloth: a broad slanting drape and finer crossing wrinkles, in other places in every image."""
        first, second, third = self.folds
        drape = np.sin(2.6 * turn + 17 * down + first)
        return 0.7 * drape + np.sin(44 * down - 4.2 * turn + second) * np.sin(3.3 * turn + 9 * down + third)


def _slope(widths: np.ndarray, length: float) -> np.ndarray:
    """Change of the half-width along the tube at every step, limited where the ends close."""
    inner = (widths[2:] - widths[:-2]) * ((STEPS - 1) / (2 * length))
    return np.concatenate([inner[:1], inner, inner[-1:]]).clip(-2, 2).astype(np.float32)


def profile(places: Sequence[float] | np.ndarray, widths: Sequence[float] | np.ndarray) -> np.ndarray:
    """Half-widths at every step, linear between those given at `places` in [0, 1]."""
    return np.interp(ALONG, places, widths).astype(np.float32)


def capsule(first: float, last: float, length: float) -> np.ndarray:
    """Widths of a limb tapering from radius `first` to `last`, its ends round; `length` lies between their centres."""
    along = ALONG * (first + length + last) - first
    taper = first + (last - first) * (along / max(length, 1e-6)).clip(0, 1)
    start = np.sqrt(np.maximum(first**2 - np.minimum(along, 0) ** 2, 0))
    end = np.sqrt(np.maximum(last**2 - np.maximum(along - length, 0) ** 2, 0))
    return np.where(along < 0, start, np.where(along > length, end, taper))


def ellipse(radius: float) -> np.ndarray:
    """Widths of an ellipse with that half-width."""
    return radius * np.sqrt(1 - (2 * ALONG - 1) ** 2)
