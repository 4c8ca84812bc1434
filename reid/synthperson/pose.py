"""How a body is held: the moment of a walk, what the arms do, and the joints that follow, in three dimensions.

Points are (x, y, z) in body heights: x to the wearer's left, y up from the ground, z forward.
"""

from dataclasses import dataclass

import numpy as np

Point3 = tuple[float, float, float]
THIGH, SHIN, UPPER_ARM, FOREARM = 0.235, 0.225, 0.165, 0.145
SIDES = (-1, 1)  # right, left


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

    def leg_angles(self, side: int) -> tuple[float, float]:
        """Angle of the thigh (forward positive) and bend of the knee, radians."""
        phase = self.phase + (0 if side < 0 else np.pi)
        bend = 0.06 + 1.7 * self.stride * max(0.0, float(np.cos(phase + 0.25)))
        return self.stride * float(np.sin(phase)), bend

    def leg(self, side: int, girth: float) -> tuple[Point3, Point3, Point3]:
        """Hip, knee and ankle."""
        thigh, bend = self.leg_angles(side)
        x = 0.045 * side * girth
        knee_y, knee_z = 0.505 - THIGH * float(np.cos(thigh)), THIGH * float(np.sin(thigh))
        ankle_y, ankle_z = knee_y - SHIN * float(np.cos(thigh - bend)), knee_z + SHIN * float(np.sin(thigh - bend))
        return (x, 0.505, 0.0), (x, knee_y, knee_z), (x, ankle_y, ankle_z)

    def lowest_foot(self) -> float:
        """Height of the lower sole over where the ground would be if the legs were straight."""
        return min(self.leg(side, 1.0)[2][1] for side in SIDES) - 0.035

    def arm_angles(self, side: int) -> tuple[float, float, float, float]:
        """Angles of upper arm and forearm (forward positive), how far the elbow is out and the wrist is in."""
        doing = self.arms[SIDES.index(side)]
        if doing == "phone":
            return 0.45, 2.2, 0.05, 0.06
        if doing == "pocket":
            return -0.25, 0.25, 0.28, 0.06
        if doing == "carry":
            return 0.15, 1.35, 0.08, 0.06
        swing = -0.8 * self.stride * float(np.sin(self.phase + (0 if side < 0 else np.pi)))
        return swing, swing + 0.15 + 0.45 * max(0.0, swing), 0.10, 0.01

    def arm(self, side: int, girth: float) -> tuple[Point3, Point3, Point3]:
        """Shoulder, elbow and wrist."""
        upper, fore, out, inwards = self.arm_angles(side)
        x, y = 0.092 * side * girth, 0.787
        elbow_x = x + side * UPPER_ARM * float(np.sin(out))
        elbow_y, elbow_z = y - UPPER_ARM * float(np.cos(upper)), UPPER_ARM * float(np.sin(upper))
        wrist_y, wrist_z = elbow_y - FOREARM * float(np.cos(fore)), elbow_z + FOREARM * float(np.sin(fore))
        return (x, y, 0.0), (elbow_x, elbow_y, elbow_z), (elbow_x - side * inwards, wrist_y, wrist_z)


ARMS = {"swing": 0.80, "pocket": 0.12, "phone": 0.04, "carry": 0.04}


def draw_pose(rng: np.random.Generator, yaw: float, pitch: float) -> Pose:
    """A pose of somebody who walks, or now and then stands."""
    walking = rng.random() < 0.8
    right, left = rng.choice(list(ARMS), size=2, p=list(ARMS.values()))
    return Pose(
        yaw=yaw,
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.22, 0.45) if walking else rng.uniform(0.02, 0.1)),
        pitch=pitch,
        lean=float(rng.normal(0.02, 0.02)),
        head_turn=float(rng.normal(0, 0.35)),
        arms=(str(right), str(left)),
    )
