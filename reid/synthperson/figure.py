"""A person drawn on a canvas, seen from any side, dressed from the feet up; the head is in `head`."""

from collections.abc import Callable
from functools import partial

import numpy as np

from reid.synthperson import fabric
from reid.synthperson.canvas import ALONG, Canvas, Point, capsule, profile
from reid.synthperson.fabric import Paint
from reid.synthperson.head import Head
from reid.synthperson.pose import SIDES, THIGH, UPPER_ARM, Point3, Pose
from reid.synthperson.wardrobe import Colour, Identity

# Half-width and half-depth of the clothed trunk at heights from the neck down to the hem of the longest coat.
TRUNK = np.array([(0.856, 0.030, 0.032), (0.842, 0.048, 0.042), (0.828, 0.074, 0.052), (0.812, 0.094, 0.060),
                  (0.790, 0.106, 0.068), (0.740, 0.104, 0.074), (0.640, 0.089, 0.066), (0.560, 0.092, 0.071),
                  (0.470, 0.098, 0.076), (0.100, 0.132, 0.115)])  # fmt: skip
SKIRT = np.array([(0.60, 0.075, 0.060), (0.53, 0.094, 0.076), (0.20, 0.125, 0.110)])


class Figure:
    """Draws one `Identity` in one `Pose`; `crease` is the depth of the folds of the cloth."""

    def __init__(self, canvas: Canvas, who: Identity, pose: Pose, crease: float) -> None:
        self.canvas, self.who, self.pose, self.crease = canvas, who, pose, crease
        self.cos, self.sin = float(np.cos(pose.yaw)), float(np.sin(pose.yaw))
        self.lift = pose.lowest_foot()
        self.build = 0.5 + 0.5 * who.girth

    def draw(self) -> None:
        """Paint all parts, the farthest first."""
        head = Head(self.canvas, self.who, self.pose, self.project)
        parts: list[tuple[float, Callable[[], None]]] = [(0.0, self._torso), (0.02, head.draw)]
        parts.append((head.loose_hair_depth(), head.loose_hair))
        for side in SIDES:
            parts.append((-0.5 - 0.1 * side * self.sin, partial(self._leg, side)))
            ahead = 0.03 * float(np.sin(self.pose.arm_angles(side)[1])) * self.cos
            parts.append((0.11 * -side * self.sin + ahead + 0.01, partial(self._arm, side)))
        if self.who.skirt_length:
            parts.append((-0.35, self._skirt))
        if self.who.bag == "backpack":
            parts.append((-0.16 * self.cos, self._backpack))
        elif self.who.bag != "none":
            parts.append((0.13 * -self.who.bag_side * self.sin + 0.012, self._bag))
        for _, part in sorted(parts, key=lambda part: part[0]):
            part()

    def project(self, x: float, y: float, z: float) -> Point:
        """The place on the canvas of a point of the body."""
        z = z + self.pose.lean * y
        towards = -x * self.sin + z * self.cos
        up = (y - self.lift) * float(np.cos(self.pose.pitch)) - towards * float(np.sin(self.pose.pitch))
        return x * self.cos + z * self.sin, up

    def limb(self, start: Point3, end: Point3, first: float, last: float, paint: Paint, crease: float = 0.0) -> None:
        """A limb between two joints, its ends rounded."""
        (x0, y0), (x1, y1) = self.project(*start), self.project(*end)
        length = float(np.hypot(x1 - x0, y1 - y0))
        ux, uy = ((x1 - x0) / length, (y1 - y0) / length) if length > 1e-6 else (0.0, -1.0)
        self.canvas.tube(
            (x0 - ux * first, y0 - uy * first),
            (x1 + ux * last, y1 + uy * last),
            capsule(first, last, length),
            fabric.shifted(paint, -first),
            self.pose.yaw,
            crease,
            relief=0.0,
        )

    # --- legs

    def _leg(self, side: int) -> None:
        who = self.who
        hip, knee, ankle = self.pose.leg(side, who.girth)
        paint, crease, loose = fabric.plain(who.skin), 0.0, 1.0
        if who.leg_length:
            paint = fabric.layered(fabric.cloth(who.bottom), who.leg_length, paint)
            crease, loose = self.crease, who.looseness
        calf = loose if who.leg_length > 0.3 else 1.0
        self._shoe(side, ankle)
        shin, foot = 0.037 * self.build * calf, 0.023 * max(1.0, calf**2)
        self.limb(knee, ankle, shin, foot, fabric.shifted(paint, THIGH), crease)
        self.limb(hip, knee, 0.053 * self.build * max(loose, 0.98), 0.038 * self.build * loose, paint, crease)

    def _shoe(self, side: int, ankle: Point3) -> None:
        thigh, bend = self.pose.leg_angles(side)
        tilt = thigh - bend + 0.1
        x, y, z = ankle
        drop = 0.022 - 0.09 * min(0.0, float(np.sin(tilt)))
        heel, toe = (x, y - 0.018, z - 0.012), (x * 1.15, y - drop, z + 0.08 * float(np.cos(tilt)))
        for paint, lower in ((fabric.plain(self.who.soles), 0.008), (fabric.plain(self.who.shoes), 0.0)):
            self.limb((heel[0], heel[1] - lower, heel[2]), (toe[0], toe[1] - lower, toe[2]), 0.024, 0.019, paint)

    # --- trunk

    def _hull(self, shape: np.ndarray, hem: float, paint: Paint) -> None:
        """A garment round the trunk down to `hem`; `shape` rows: height, half-width, half-depth."""
        top = shape[0, 0]
        places = (top - shape[:, 0]) / (top - hem)
        below_hip = np.maximum(0.52 - top + ALONG * (top - hem), 0)
        swing = 0.5 * self.pose.stride * abs(float(np.sin(self.pose.phase))) * below_hip
        wide = profile(places, shape[:, 1]) * self.who.girth
        deep = profile(places, shape[:, 2]) * self.who.girth + swing
        widths = np.hypot(wide * self.cos, deep * self.sin)
        start, end = self.project(0, top, 0), self.project(0, hem, 0)
        self.canvas.tube(start, end, widths, paint, self.pose.yaw, self.crease)

    def _torso(self) -> None:
        who, shape = self.who, TRUNK.copy()
        if who.top.pattern == "quilted":
            shape[3:, 1:] *= 1.10
        paint = fabric.torso(who.top, who.skin)
        if who.bag in ("backpack", "shoulder"):
            paint = fabric.strapped(paint, who.bag, who.bag_colour, who.bag_side)
        self.limb((0, 0.89, 0.005), (0, 0.84, 0.0), 0.027, 0.032, fabric.plain(fabric.shade(who.skin, 0.82)))
        self._hull(shape, who.hem, paint)

    def _skirt(self) -> None:
        self._hull(SKIRT, 0.505 - self.who.skirt_length, fabric.cloth(self.who.bottom))

    def _arm(self, side: int) -> None:
        who = self.who
        shoulder, elbow, wrist = self.pose.arm(side, who.girth)
        x, y, z = (joint + 0.22 * (joint - before) for joint, before in zip(wrist, elbow, strict=True))
        sleeve = fabric.layered(fabric.cloth(who.top), who.sleeve, fabric.plain(who.skin))
        thick = self.build * who.padding
        crease = self.crease if who.sleeve > 0.25 else 0.0
        self.limb(wrist, (x, y, z), 0.018, 0.016, fabric.plain(who.skin))
        self.limb(elbow, wrist, 0.028 * thick, 0.021 * thick, fabric.shifted(sleeve, UPPER_ARM), crease)
        self.limb(shoulder, elbow, 0.035 * thick, 0.029 * thick, sleeve, crease)

    # --- bags

    def _backpack(self) -> None:
        wide = float(np.hypot(0.086 * self.cos, 0.052 * self.sin))
        widths = wide * profile([0, 0.06, 0.2, 0.9, 1], [0.55, 0.85, 0.98, 1.0, 0.88])
        start, end = self.project(0, 0.825, -0.09), self.project(0, 0.585, -0.10)
        self.canvas.tube(start, end, widths, _bag_paint(self.who.bag_colour), self.pose.yaw + np.pi, 0.03, relief=0.4)

    def _bag(self) -> None:
        who = self.who
        x = who.bag_side * 0.135 * who.girth
        top, bottom = (0.545, 0.425) if who.bag == "shoulder" else (0.43, 0.29)
        if who.bag == "hand":
            self.limb((x, 0.50, 0.02), (x, top, 0.02), 0.007, 0.007, fabric.plain(who.bag_colour))
        widths = float(np.hypot(0.035 * self.cos, 0.075 * self.sin)) * profile([0, 0.2, 1], [0.75, 0.95, 1.0])
        start, end = self.project(x, top, 0.02), self.project(x, bottom, 0.02)
        self.canvas.tube(start, end, widths, _bag_paint(who.bag_colour), self.pose.yaw, 0.03)


def _bag_paint(colour: Colour) -> Paint:
    """A bag with darker seams round its pocket."""
    light, dark = np.asarray(colour, np.float32), np.asarray(fabric.shade(colour, 0.6), np.float32)

    def paint(angle: np.ndarray, down: np.ndarray) -> np.ndarray:
        pocket = (np.abs(angle) < 0.8) & (np.abs(down - 0.17) < 0.05)
        inner = (np.abs(angle) < 0.7) & (np.abs(down - 0.17) < 0.043)
        seam = (pocket & ~inner) | (np.abs(down - 0.055) < 0.005)
        return np.where(seam[:, None], dark, light)

    return paint
