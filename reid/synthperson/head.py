"""The head of a figure: face, hair, headwear, scarf."""

from collections.abc import Callable

import numpy as np

from reid.synthperson import fabric
from reid.synthperson.canvas import ALONG, Canvas, Point, capsule, ellipse, profile
from reid.synthperson.fabric import Paint
from reid.synthperson.pose import Pose
from reid.synthperson.wardrobe import Identity

CROWN, SIZE = 0.998, 0.132
HAIR_ENDS = {"long": 0.765, "bob": 0.852}  # how low loose hair hangs
BRIMS = {"cap": 0.948, "beanie": 0.945, "sun hat": 0.955}  # lower edge of a hat


class Head:
    """Draws the head of `who`, turned a little against the body; `project` places a point of the body."""

    def __init__(
        self, canvas: Canvas, who: Identity, pose: Pose, project: Callable[[float, float, float], Point]
    ) -> None:
        self.canvas, self.who, self.pose, self.project = canvas, who, pose, project
        self.yaw = pose.yaw + pose.head_turn
        self.cos, self.sin = float(np.cos(self.yaw)), float(np.sin(self.yaw))
        self.wide = float(np.hypot(0.046 * self.cos, 0.055 * self.sin))

    def draw(self) -> None:
        """Paint skull, tied hair, scarf and headwear; loose hair is a part of its own."""
        self._skull()
        self._tied_hair()
        if self.who.scarf is not None:
            start, end = self.project(0, 0.882, 0.01), self.project(0, 0.822, 0.01)
            self.canvas.tube(start, end, ellipse(0.060), fabric.plain(self.who.scarf), self.pose.yaw, 0.2)
        self._headwear()

    def _at(self, y: float, z: float) -> Point:
        """A point of the head's middle plane: `z` forward of its axis."""
        across, up = self.project(0, y, 0.014)
        return across + z * self.sin, up - z * self.cos * float(np.sin(self.pose.pitch))

    def _skull(self) -> None:
        round_head = np.sqrt(1 - (2 * ALONG - 1) ** 2) ** 0.8
        jaw = 1 - 0.22 * np.maximum(ALONG - 0.45, 0) * abs(self.cos)
        paint = fabric.head(self.who.skin, self.who.hair, self.who.hair_style, SIZE)
        self.canvas.tube(
            self._at(CROWN, 0), self._at(CROWN - SIZE, 0.006), self.wide * round_head * jaw, paint, self.yaw
        )

    def loose_hair_depth(self) -> float:
        """Behind the trunk when the face is seen, before it from the side, over the head from behind."""
        return -0.02 if self.cos > 0.35 else 0.015 if self.cos > 0.1 else 0.025

    def loose_hair(self) -> None:
        """Paint hair that is long and not tied, if this person has it."""
        if self.who.hair_style in HAIR_ENDS:
            start, end = self._at(0.985, -0.022), self._at(HAIR_ENDS[self.who.hair_style], -0.032)
            widths = profile([0, 0.1, 0.3, 0.7, 1], [0.020, 0.042, 0.054, 0.057, 0.038])
            self.canvas.tube(start, end, widths, fabric.plain(self.who.hair), self.yaw, 0.1, relief=0.3)

    def _tied_hair(self) -> None:
        paint, style = fabric.plain(self.who.hair), self.who.hair_style
        if style == "ponytail" and self.cos < 0.55:  # else the head hides it
            (x, y), end = self._at(0.965, -0.05), self._at(0.85, -0.072)
            self.canvas.tube((x, y + 0.02), end, capsule(0.020, 0.013, 0.1), paint, self.yaw)
        elif style == "bun":
            (x, y), end = self._at(0.998, -0.035), self._at(0.978, -0.04)
            self.canvas.tube((x, y + 0.022), end, capsule(0.022, 0.016, 0.1), paint, self.yaw)
        elif style == "curly":
            widths = profile([0, 0.12, 0.5, 0.85, 1], [0.02, 0.048, 0.059, 0.048, 0.02])
            self.canvas.tube(self._at(1.015, -0.01), self._at(0.945, -0.02), widths, paint, self.yaw, 0.25)

    def _headwear(self) -> None:
        kind, paint = self.who.headwear, fabric.plain(self.who.headwear_colour)
        if kind == "none":
            return
        if kind == "hood":
            self._hood(paint)
            return
        brim = BRIMS[kind]
        dome = profile([0, 0.1, 0.35, 0.7, 1], [0.33, 0.7, 1.02, 1.12, 1.12])
        self.canvas.tube(self._at(1.012, -0.004), self._at(brim, 0), dome * self.wide, paint, self.yaw, 0.05)
        if kind == "cap":
            self._visor(brim, paint)
        elif kind == "sun hat":
            self.canvas.tube(self._at(brim + 0.008, 0), self._at(brim - 0.012, 0), ellipse(0.086), paint, self.yaw)

    def _hood(self, paint: Paint) -> None:
        """A hood over the head; the face looks out of it."""
        face = fabric.head(self.who.skin, self.who.hair, "crop", SIZE)

        def worn(angle: np.ndarray, down: np.ndarray) -> np.ndarray:
            opening = (angle / 0.95) ** 2 + ((down - 0.085) / 0.058) ** 2 < 1
            return np.where(opening[:, None], face(angle, down - 0.015), paint(angle, down))

        widths = self.wide * profile([0, 0.06, 0.25, 0.6, 0.85, 1], [0.35, 0.8, 1.2, 1.28, 1.2, 1.1])
        self.canvas.tube(self._at(1.014, -0.012), self._at(0.845, -0.008), widths, worn, self.yaw, 0.1)

    def _visor(self, brim: float, paint: Paint) -> None:
        if self.cos < -0.5:
            return
        start, end = self._at(brim + 0.012, 0.03), self._at(brim - 0.004, 0.085)
        if abs(self.sin) > 0.5:
            self.canvas.tube(start, end, np.full_like(ALONG, 0.009), paint, self.yaw)
        else:
            widths = np.full_like(ALONG, 0.040 * abs(self.cos) + 0.012)
            self.canvas.tube((end[0], start[1]), (end[0], end[1] - 0.004), widths, paint, self.yaw)
