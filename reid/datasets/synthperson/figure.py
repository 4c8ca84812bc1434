"""A person drawn on a canvas: a walking skeleton in three dimensions, seen from any side, dressed from the feet up."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from reid.datasets.synthperson import fabric
from reid.datasets.synthperson.canvas import Canvas, capsule, ellipse
from reid.datasets.synthperson.fabric import Paint
from reid.datasets.synthperson.wardrobe import Colour, Identity

Point = tuple[float, float]
THIGH, SHIN, UPPER_ARM, FOREARM = 0.235, 0.225, 0.165, 0.145


@dataclass(frozen=True)
class Pose:
    """Where the body faces (yaw, radians, 0 to the viewer, positive to the right) and what the limbs do.

    `phase` is the moment of the walking cycle (radians), `stride` the swing of the thighs (radians; 0 stands),
    `pitch` how far the camera looks down (radians), `arms` what the (right, left) arm does.
    """

    yaw: float
    phase: float
    stride: float
    pitch: float
    lean: float
    head_turn: float
    arms: tuple[str, str]


def pose(rng: np.random.Generator, yaw: float, pitch: float) -> Pose:
    """A pose of somebody who walks, or now and then stands."""
    walking = rng.random() < 0.8
    arms = tuple(str(rng.choice(["swing", "phone", "pocket", "carry"], p=[0.7, 0.07, 0.15, 0.08])) for _ in "rl")
    return Pose(
        yaw=yaw,
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.28, 0.52) if walking else rng.uniform(0.02, 0.1)),
        pitch=pitch,
        lean=float(rng.normal(0.02, 0.02)),
        head_turn=float(rng.normal(0, 0.35)),
        arms=(arms[0], arms[1]),
    )


class Figure:
    """Draws one `Identity` in one `Pose`; x is to the wearer's left, y up, z forward, in body heights."""

    def __init__(self, canvas: Canvas, who: Identity, pose: Pose, crease: float = 0.08) -> None:
        self.canvas, self.who, self.pose, self.crease = canvas, who, pose, crease
        self.cos, self.sin = float(np.cos(pose.yaw)), float(np.sin(pose.yaw))
        self.lift = self._lowest_foot()

    def draw(self) -> None:
        """Paint all parts, the farthest first."""
        parts: list[tuple[float, Callable[[], None]]] = []
        for side in (-1, 1):
            parts.append((-0.5 - 0.1 * side * self.sin, partial(self._leg, side)))
            swing = 0.03 * np.sin(self._arm_angles(side)[1]) * self.cos
            parts.append((0.11 * -side * self.sin + swing + 0.01, partial(self._arm, side)))
        if self.who.leg_wear in ("skirt", "midi skirt"):
            parts.append((-0.35, self._skirt))
        parts.append((0.0, self._torso))
        parts.append((0.02, self._head))
        if self.who.bag != "none":
            parts.append((self._bag_depth(), self._bag))
        for _, part in sorted(parts, key=lambda part: part[0]):
            part()

    def _project(self, x: float, y: float, z: float) -> Point:
        """The place on the picture of a point of the body."""
        z = z + self.pose.lean * y
        towards = -x * self.sin + z * self.cos
        across = x * self.cos + z * self.sin
        return across, (y - self.lift) * np.cos(self.pose.pitch) - towards * np.sin(self.pose.pitch)

    def _limb(self, start: tuple, end: tuple, first: float, last: float, paint: Paint, crease: float = 0.0) -> None:
        """A limb between two joints of the body, its ends rounded."""
        (x0, y0), (x1, y1) = self._project(*start), self._project(*end)
        length = float(np.hypot(x1 - x0, y1 - y0))
        ux, uy = ((x1 - x0) / length, (y1 - y0) / length) if length > 1e-6 else (0.0, -1.0)
        self.canvas.tube(
            (x0 - ux * first, y0 - uy * first),
            (x1 + ux * last, y1 + uy * last),
            capsule(first, last, length),
            fabric.shifted(paint, -first),
            self.pose.yaw,
            crease,
        )

    # --- legs

    def _leg_angles(self, side: int) -> tuple[float, float]:
        """Angle of the thigh (forward positive) and bend of the knee at this moment of the step."""
        phase = self.pose.phase + (0 if side < 0 else np.pi)
        bend = 0.06 + 1.7 * self.pose.stride * max(0.0, float(np.cos(phase + 0.25)))
        return self.pose.stride * float(np.sin(phase)), bend

    def _leg_joints(self, side: int) -> tuple[tuple, tuple, tuple]:
        thigh, bend = self._leg_angles(side)
        hip = (0.045 * side * self.who.girth, 0.505, 0.0)
        knee = (hip[0], hip[1] - THIGH * np.cos(thigh), THIGH * np.sin(thigh))
        ankle = (hip[0], knee[1] - SHIN * np.cos(thigh - bend), knee[2] + SHIN * np.sin(thigh - bend))
        return hip, knee, ankle

    def _lowest_foot(self) -> float:
        return min(self._leg_joints(side)[2][1] for side in (-1, 1)) - 0.035

    def _leg(self, side: int) -> None:
        who = self.who
        hip, knee, ankle = self._leg_joints(side)
        shape = 0.5 + 0.5 * who.girth
        cloth, skin = fabric.cloth(who.bottom), fabric.plain(who.skin)
        dressed = who.leg_wear not in ("bare", "skirt", "midi skirt")
        paint = fabric.layered(cloth, who.leg_length, skin) if dressed else skin
        crease = self.crease if dressed else 0.0
        loose = who.looseness if dressed else 1.0
        calf = loose if who.leg_length > 0.3 else 1.0
        self._shoe(ankle, *self._leg_angles(side))
        self._limb(knee, ankle, 0.036 * shape * calf, 0.023 * max(1.0, calf**2), fabric.shifted(paint, THIGH), crease)
        self._limb(hip, knee, 0.053 * shape * max(loose, 0.98), 0.037 * shape * loose, paint, crease)

    def _shoe(self, ankle: tuple, thigh: float, bend: float) -> None:
        tilt = thigh - bend + 0.1
        x, y, z = ankle
        heel = (x, y - 0.018, z - 0.012)
        toe = (x * 1.15, y - 0.022 + 0.09 * min(0.0, float(np.sin(tilt))), z + 0.085 * float(np.cos(tilt)))
        sole_heel, sole_toe = (heel[0], heel[1] - 0.009, heel[2]), (toe[0], toe[1] - 0.009, toe[2])
        self._limb(sole_heel, sole_toe, 0.023, 0.020, fabric.plain(self.who.soles))
        self._limb(heel, toe, 0.025, 0.020, fabric.plain(self.who.shoes))

    def _skirt(self) -> None:
        hem = 0.60 - self.who.leg_length - 0.08
        self._hull(
            0.60,
            hem,
            ((0, 0.073, 0.058), (0.4, 0.093, 0.075), (1, 0.105, 0.09)),
            fabric.cloth(self.who.bottom),
        )

    # --- trunk

    def _hull(self, top: float, bottom: float, outline: tuple, paint: Paint) -> None:
        """A garment round the trunk. `outline`: (place from 0 top to 1 bottom, half-width, half-depth)."""
        place, wide, deep = np.array(outline).T
        steps = np.linspace(0, 1, PROFILE_STEPS)
        girth = self.who.girth
        sway = 0.25 * THIGH * self.pose.stride * abs(np.sin(self.pose.phase)) * (steps * (top - bottom) > 0.3)
        wide, deep = np.interp(steps, place, wide) * girth, np.interp(steps, place, deep) * girth
        widths = np.sqrt((wide * self.cos) ** 2 + ((deep + sway) * self.sin) ** 2)
        self.canvas.tube(
            self._project(0, top, 0), self._project(0, bottom, 0), widths, paint, self.pose.yaw, self.crease
        )

    def _torso(self) -> None:
        who = self.who
        top, bottom = 0.85, who.hem
        shape = np.array([(0.85, 0.040, 0.036), (0.838, 0.066, 0.05), (0.822, 0.098, 0.058), (0.80, 0.112, 0.066),
                          (0.74, 0.106, 0.074), (0.64, 0.088, 0.064), (0.56, 0.092, 0.070), (0.47, 0.098, 0.074),
                          (0.10, 0.135, 0.115)])  # fmt: skip
        shape[:, 0] = (top - shape[:, 0]) / (top - bottom)
        if who.top.pattern == "quilted":
            shape[2:, 1:] *= 1.12
        paint = fabric.torso(who.top, who.skin)
        if who.bag in ("backpack", "shoulder"):
            paint = fabric.strapped(paint, who.bag, who.bag_colour, who.bag_side)
        self._limb((0, 0.885, 0.0), (0, 0.84, 0.0), 0.028, 0.034, fabric.plain(fabric.shade(who.skin, 0.85)))
        self._hull(top, bottom, tuple(map(tuple, shape)), paint)

    # --- arms

    def _arm_angles(self, side: int) -> tuple[float, float, float]:
        """Angles of the upper arm and of the forearm (forward positive), and how far the elbow is out."""
        doing = self.pose.arms[0 if side < 0 else 1]
        phase = self.pose.phase + (np.pi if side < 0 else 0)
        swing = 0.9 * self.pose.stride * float(np.sin(phase))
        if doing == "phone":
            return 0.45, 2.1, 0.05
        if doing == "pocket":
            return -0.25, 0.25, 0.28
        if doing == "carry":
            return 0.15, 1.35, 0.08
        return swing, swing + 0.25 + 0.35 * max(0.0, swing), 0.09

    def _arm(self, side: int) -> None:
        who = self.who
        upper, fore, out = self._arm_angles(side)
        shoulder = (0.103 * side * who.girth, 0.802, 0.0)
        elbow = (
            shoulder[0] + side * UPPER_ARM * np.sin(out),
            shoulder[1] - UPPER_ARM * np.cos(upper),
            UPPER_ARM * np.sin(upper),
        )
        inwards = -0.02 if self.pose.arms[0 if side < 0 else 1] == "swing" else -0.06
        wrist = (
            elbow[0] + side * inwards,
            elbow[1] - FOREARM * np.cos(fore),
            elbow[2] + FOREARM * np.sin(fore),
        )
        hand = tuple(w + 0.22 * (w - e) for w, e in zip(wrist, elbow, strict=True))
        sleeve = fabric.layered(fabric.cloth(who.top), who.sleeve, fabric.plain(who.skin))
        thick = (0.5 + 0.5 * who.girth) * (1.0 if who.sleeve < 0.25 else 1.22 if who.hem < 0.475 else 1.1)
        crease = self.crease if who.sleeve > 0.25 else 0.0
        self._limb(wrist, hand, 0.019, 0.016, fabric.plain(who.skin))
        self._limb(elbow, wrist, 0.028 * thick, 0.021 * thick, fabric.shifted(sleeve, UPPER_ARM), crease)
        self._limb(shoulder, elbow, 0.036 * thick, 0.029 * thick, sleeve, crease)

    # --- head

    def _head(self) -> None:
        who, size = self.who, 0.132
        yaw = self.pose.yaw + self.pose.head_turn
        forward = 0.014
        crown, chin = self._project(0, 0.998, forward), self._project(0, 0.998 - size, forward + 0.006)
        behind = np.cos(yaw) < 0.1
        if not behind:
            self._long_hair(yaw)
        wide = np.hypot(0.046 * np.cos(yaw), 0.056 * np.sin(yaw))
        place = np.linspace(0, 1, PROFILE_STEPS)
        jaw = np.sqrt((1 - (2 * place - 1) ** 2).clip(0)) ** 0.8 * (
            1 - 0.22 * (place - 0.45).clip(0) * abs(np.cos(yaw))
        )
        self.canvas.tube(crown, chin, wide * jaw, fabric.head(who.skin, who.hair, who.hair_style, size), yaw)
        if behind:
            self._long_hair(yaw)
        self._hair_extras(yaw)
        self._scarf()
        self._headwear(yaw, wide)

    def _at_head(self, yaw: float, y: float, z: float) -> Point:
        """A point of the head's middle plane, turned with the head."""
        across, height = self._project(0, y, 0.014)
        return across + z * float(np.sin(yaw)), height - z * float(np.cos(yaw)) * float(np.sin(self.pose.pitch))

    def _long_hair(self, yaw: float) -> None:
        lengths = {"long": 0.77, "bob": 0.85}
        if self.who.hair_style not in lengths:
            return
        end = lengths[self.who.hair_style]
        widths = np.interp(np.linspace(0, 1, PROFILE_STEPS), [0, 0.25, 0.6, 1], [0.02, 0.056, 0.06, 0.042])
        self.canvas.tube(
            self._at_head(yaw, 0.985, -0.022),
            self._at_head(yaw, end, -0.035),
            widths,
            fabric.plain(self.who.hair),
            yaw,
            0.1,
        )

    def _hair_extras(self, yaw: float) -> None:
        hair, style = fabric.plain(self.who.hair), self.who.hair_style
        if style == "ponytail":
            self._strand(yaw, (0.965, -0.05), (0.85, -0.075), 0.022, hair)
        elif style == "bun":
            self._strand(yaw, (1.005, -0.035), (0.985, -0.04), 0.026, hair)
        elif style == "curly":
            widths = np.interp(
                np.linspace(0, 1, PROFILE_STEPS), [0, 0.12, 0.5, 0.85, 1], [0.02, 0.05, 0.062, 0.05, 0.02]
            )
            self.canvas.tube(self._at_head(yaw, 1.02, -0.01), self._at_head(yaw, 0.945, -0.02), widths, hair, yaw, 0.25)

    def _strand(self, yaw: float, start: Point, end: Point, radius: float, paint: Paint) -> None:
        """A piece of hair behind the head: hidden by it when the face is turned to the viewer."""
        if np.cos(yaw) > 0.55 and start[0] < 1:
            return
        first, last = self._at_head(yaw, *start), self._at_head(yaw, *end)
        self.canvas.tube((first[0], first[1] + radius), last, capsule(radius, radius * 0.7, 0.1), paint, yaw)

    def _scarf(self) -> None:
        if self.who.scarf is not None:
            top, bottom = self._project(0, 0.882, 0.01), self._project(0, 0.822, 0.01)
            self.canvas.tube(top, bottom, ellipse(0.062), fabric.plain(self.who.scarf), self.pose.yaw, 0.25)

    def _headwear(self, yaw: float, wide: float) -> None:
        who = self.who
        if who.headwear == "none":
            return
        paint = fabric.plain(who.headwear_colour)
        if who.headwear == "hood":
            open_front = fabric.layered(paint, 0.035, lambda angle, down: paint(angle, down))
            self.canvas.tube(self._at_head(yaw, 1.008, -0.012), self._at_head(yaw, 0.955, -0.012), ellipse(wide * 1.2),
                             open_front, yaw, 0.1)  # fmt: skip
            return
        brim = {"cap": 0.948, "beanie": 0.945, "sun hat": 0.955}[who.headwear]
        dome = np.interp(np.linspace(0, 1, PROFILE_STEPS), [0, 0.1, 0.35, 0.7, 1], [0.015, 0.032, 0.047, 0.052, 0.052])
        self.canvas.tube(
            self._at_head(yaw, 1.012, -0.004),
            self._at_head(yaw, brim, 0.0),
            dome * wide / 0.046,
            paint,
            yaw,
            0.05,
        )
        if who.headwear == "cap":
            self._visor(yaw, brim, paint)
        elif who.headwear == "sun hat":
            self.canvas.tube(
                self._at_head(yaw, brim + 0.008, 0),
                self._at_head(yaw, brim - 0.012, 0),
                ellipse(0.088),
                paint,
                yaw,
            )

    def _visor(self, yaw: float, brim: float, paint: Paint) -> None:
        if np.cos(yaw) < -0.5:
            return
        across = float(np.sin(yaw))
        start, end = self._at_head(yaw, brim + 0.012, 0.03), self._at_head(yaw, brim - 0.004, 0.085)
        half = 0.040 * abs(float(np.cos(yaw))) + 0.012
        if abs(across) > 0.5:
            self.canvas.tube(start, end, np.full(8, 0.009), paint, yaw)
        else:
            self.canvas.tube((end[0], start[1]), (end[0], end[1] - 0.004), np.full(8, half), paint, yaw)

    # --- bags

    def _bag_depth(self) -> float:
        if self.who.bag == "backpack":
            return -0.16 * self.cos
        return 0.13 * -self.who.bag_side * self.sin + 0.012

    def _bag(self) -> None:
        who = self.who
        paint = _bag_paint(who.bag_colour)
        if who.bag == "backpack":
            wide = np.hypot(0.082 * self.cos, 0.050 * self.sin)
            outline = np.interp(np.linspace(0, 1, PROFILE_STEPS), [0, 0.12, 0.5, 0.9, 1], [0.4, 0.85, 1.0, 1.0, 0.8])
            self.canvas.tube(self._project(0, 0.83, -0.095), self._project(0, 0.60, -0.10), wide * outline, paint,
                             self.pose.yaw + np.pi, 0.04)  # fmt: skip
            return
        side = who.bag_side
        x = side * 0.135 * who.girth
        top, bottom = (0.545, 0.425) if who.bag == "shoulder" else (0.43, 0.29)
        wide = np.hypot(0.035 * self.cos, 0.075 * self.sin)
        if who.bag == "hand":
            self._limb((x, 0.50, 0.02), (x, top, 0.02), 0.007, 0.007, fabric.plain(who.bag_colour))
        widths = wide * np.interp(np.linspace(0, 1, 8), [0, 0.2, 1], [0.75, 0.95, 1.0])
        self.canvas.tube(
            self._project(x, top, 0.02), self._project(x, bottom, 0.02), widths, paint, self.pose.yaw, 0.03
        )


PROFILE_STEPS = 32


def _bag_paint(colour: Colour) -> Paint:
    """A bag with a darker flap line."""
    light, dark = np.asarray(colour, np.float32), np.asarray(fabric.shade(colour, 0.6), np.float32)

    def paint(angle: np.ndarray, down: np.ndarray) -> np.ndarray:
        line = (np.abs(down - 0.06) < 0.007) | (np.abs(down - 0.135) < 0.006)
        return np.where(line[:, None], dark, light)

    return paint
