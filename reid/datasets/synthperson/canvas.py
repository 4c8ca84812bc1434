"""One drawing primitive: a lit tube. A limb, a torso, a skirt, a head and a bag are all tubes of varying width."""

from dataclasses import dataclass

import numpy as np

from reid.datasets.synthperson.fabric import Paint

PROFILE = 24  # samples of the width along a rounded tube


@dataclass(frozen=True)
class Light:
    """Direction towards the light (x right, y down, z towards the viewer), and how strong it and the sky are."""

    direction: tuple[float, float, float]
    diffuse: float
    ambient: float
    gloss: float = 0.0


class Canvas:
    """Colours (H, W, 3) and coverage (H, W), float32; `unit` pixels are one body height, (0, 0) is between the feet."""

    def __init__(
        self, height: int, width: int, foot: tuple[float, float], unit: float, light: Light, folds: np.ndarray
    ) -> None:
        self.colours = np.zeros((height, width, 3), np.float32)
        self.cover = np.zeros((height, width), np.float32)
        self.foot, self.unit, self.light, self.folds = foot, unit, light, folds

    def tube(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        widths: np.ndarray,
        paint: Paint,
        yaw: float = 0.0,
        crease: float = 0.0,
    ) -> None:
        """Draw a tube from `start` to `end` (x right, y up, body heights) over what is already there.

        `widths` are half-widths at even steps along it; `yaw` is how far its front is turned to the viewer's right;
        `crease` is the depth of the folds, 0 for skin.
        """
        axis = np.array([end[0] - start[0], start[1] - end[1]])
        length = float(np.hypot(*axis)) or 1e-6
        along_x, along_y = axis / length
        rows, columns, box = self._grid(start, end, float(np.max(widths)))
        along = columns * along_x + rows * along_y
        across = columns * along_y - rows * along_x
        place = along / length
        steps = np.linspace(0, 1, len(widths))
        half = np.interp(place, steps, widths, left=0.0, right=0.0)
        inside = np.abs(across) < half
        if not inside.any():
            return
        place = place[inside]
        side = across[inside] / half[inside]
        slope = np.interp(place, steps, np.gradient(np.asarray(widths), length / (len(widths) - 1))).clip(-3, 3)
        turn = np.arcsin(side)
        angle = (turn - yaw + np.pi) % (2 * np.pi) - np.pi
        down = place * length
        bright = self._brightness(side, slope, (along_x, along_y))
        if crease:
            bright *= 1 + crease * self._folds(turn, down)
        colours = paint(angle.astype(np.float32), down.astype(np.float32)) * bright[:, None]
        self.colours[box][inside] = colours
        self.cover[box][inside] = 1.0

    def _grid(
        self, start: tuple[float, float], end: tuple[float, float], reach: float
    ) -> tuple[np.ndarray, np.ndarray, tuple[slice, slice]]:
        """Rows and columns of the tube's bounding box in body heights relative to its start, and the box."""
        height, width = self.cover.shape
        foot_x, foot_y, unit = *self.foot, self.unit
        left = (min(start[0], end[0]) - reach) * unit + foot_x
        right = (max(start[0], end[0]) + reach) * unit + foot_x
        top = foot_y - (max(start[1], end[1]) + reach) * unit
        bottom = foot_y - (min(start[1], end[1]) - reach) * unit
        x0, x1 = np.clip([int(left), int(right) + 2], 0, width)
        y0, y1 = np.clip([int(top), int(bottom) + 2], 0, height)
        rows = (np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5 - foot_y) / unit + start[1]
        columns = (np.arange(x0, x1, dtype=np.float32)[None] + 0.5 - foot_x) / unit - start[0]
        return rows, columns, (slice(y0, y1), slice(x0, x1))

    def _brightness(self, side: np.ndarray, slope: np.ndarray, along: tuple[float, float]) -> np.ndarray:
        """Lambert's law (and a highlight where the light has gloss) on the surface of the tube."""
        x, y, z = self.light.direction
        facing = (
            side * (along[1] * x - along[0] * y) - slope * (along[0] * x + along[1] * y) + np.sqrt(1 - side**2) * z
        ) / np.sqrt(1 + slope**2)
        lambert = facing.clip(0)
        return self.light.ambient + self.light.diffuse * lambert + self.light.gloss * lambert**12

    def _folds(self, turn: np.ndarray, down: np.ndarray) -> np.ndarray:
        """Creases of cloth: two crossing waves, placed anew in every image."""
        first, second, third = self.folds
        return np.sin(38 * down + 2.2 * turn + first) * np.sin(3.1 * turn + second) + 0.6 * np.sin(
            85 * down - 3.0 * turn + third
        )


def capsule(first: float, last: float, length: float) -> np.ndarray:
    """Widths of a limb tapering from radius `first` to `last`, its ends round; `length` lies between their centres."""
    along = np.linspace(-first, length + last, PROFILE)
    taper = first + (last - first) * (along / max(length, 1e-6)).clip(0, 1)
    start = np.sqrt((first**2 - along.clip(max=0) ** 2).clip(0))
    end = np.sqrt((last**2 - (along - length).clip(min=0) ** 2).clip(0))
    return np.minimum(taper, np.minimum(np.where(along < 0, start, taper), np.where(along > length, end, taper)))


def ellipse(radius: float) -> np.ndarray:
    """Widths of an ellipse with that half-width."""
    return radius * np.sqrt(1 - np.linspace(-1, 1, PROFILE) ** 2)
