"""The map from a finger to a print of it: skin that gives way outside the contact's middle, then a rigid motion."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.systems.ifvit.fingers.noise import Random

Points = NDArray[np.float64]

_ROUNDS = 16


@dataclass(frozen=True)
class SkinMap:
    """A map of points of a master to points of a print, (..., 2) each, x and y in pixels.

    Args:
        center: of the contact, on the master.
        radii: of the ellipse around it in which the skin does not slip.
        brake: width of the ring, in radii, over which slipping sets in; 0 for skin that never slips.
        twist: rotation of the skin that slips, in radians around the center.
        drag: shift of it, x and y.
        matrix: (2, 2), linear part of the rigid motion.
        shift: (2,), what it adds.

    Source:
        R. Cappelli, D. Maio and D. Maltoni, "Modelling plastic distortion in fingerprint images", 2001.
    """

    center: Points
    radii: Points
    brake: float
    twist: float
    drag: Points
    matrix: Points
    shift: Points

    def __call__(self, points: Points) -> Points:
        """Points of the print for points of the master."""
        bent: Points = self._slipped(points) @ self.matrix.T + self.shift
        return bent

    def inverse(self, points: Points) -> Points:
        """Points of the master for points of the print, by a fixed-point iteration; exact to about 0.01 pixels."""
        straight: Points = (points - self.shift) @ np.linalg.inv(self.matrix).T
        if self.brake == 0:
            return straight
        found = straight
        for _ in range(_ROUNDS):
            found = found - (self._slipped(found) - straight)
        return found

    @property
    def rigid(self) -> Points | None:
        """The map as a matrix (3, 3) for homogeneous points; None where the skin slips."""
        if self.brake > 0:
            return None
        whole = np.eye(3)
        whole[:2, :2], whole[:2, 2] = self.matrix, self.shift
        return whole

    def _slipped(self, points: Points) -> Points:
        if self.brake == 0:
            return points
        x, y = points[..., 0] - self.center[0], points[..., 1] - self.center[1]
        distance = np.hypot(x / self.radii[0], y / self.radii[1]) - 1
        share = (1 - np.cos(np.pi * np.clip(distance / self.brake, 0, 1))) / 2
        cos, sin = np.cos(self.twist) - 1, np.sin(self.twist)
        slipped = points.copy()
        slipped[..., 0] += share * (cos * x - sin * y + self.drag[0])
        slipped[..., 1] += share * (sin * x + cos * y + self.drag[1])
        return slipped


def draw_map(
    center: Points, size: int, side: int, random: Random, *, rotation: float, translation: float, plastic: bool
) -> SkinMap:
    """A map for one print.

    Args:
        center: of the contact, on the master.
        size: side of the print.
        side: of the master's canvas; its middle comes to lie near the print's.
        random: source of all that is drawn.
        rotation: most degrees that the finger is turned by.
        translation: most that it is shifted by, in sides of the print.
        plastic: whether skin slips.
    """
    angle = np.radians(random.uniform(-rotation, rotation)) if rotation else 0.0
    zoom = random.uniform(0.98, 1.02)
    moved = random.uniform(-translation, translation, 2) * size
    matrix = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (side - 1) / 2)
    radii = random.uniform(0.38, 0.55, 2) * size / 2
    # Beyond two deviations the skin would fold over, which no finger does.
    twist, drag_x, drag_y = np.clip(random.standard_normal(3), -2, 2)
    brake = random.uniform(0.8, 1.5)
    return SkinMap(
        center=center,
        radii=radii,
        brake=brake if plastic else 0.0,
        twist=np.radians(3.0) * twist,
        drag=0.03 * size * np.array([drag_x, drag_y]),
        matrix=matrix,
        shift=(size - 1) / 2 + moved - matrix @ middle,
    )
