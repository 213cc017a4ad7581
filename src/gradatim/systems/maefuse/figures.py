"""What stands in a synthetic scene: houses, trees, lamps, cars and people."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.systems.maefuse.scenery import Camera, Canvas, Color

WALL_COLORS = np.array(
    [[0.62, 0.55, 0.47], [0.55, 0.36, 0.28], [0.70, 0.68, 0.64], [0.50, 0.52, 0.55], [0.66, 0.58, 0.40]]
)
CAR_COLORS = np.array(
    [[0.6, 0.08, 0.07], [0.1, 0.16, 0.36], [0.75, 0.76, 0.78], [0.08, 0.08, 0.09], [0.4, 0.42, 0.44], [0.2, 0.27, 0.22]]
)


@dataclass(frozen=True)
class Light:
    """How a scene is lit.

    Args:
        ambient: color of the light that falls everywhere.
        sky: color of the sky at the top, and at the horizon.
        sun: how far a shadow falls to the right and away, in meters for a meter of height.
        shadow: share of the light that a shadow takes away.
        lit: share of the windows with light, and whether lamps shine.
        sky_heat: heat of the sky at the top.
    """

    ambient: Color
    sky: tuple[Color, Color]
    sun: tuple[float, float]
    shadow: float
    lit: float
    sky_heat: float


@dataclass(frozen=True)
class Stage:
    """Where figures are painted.

    Args:
        canvas: the layers.
        camera: the view.
        light: how the scene is lit.
        random: source of every choice.
    """

    canvas: Canvas
    camera: Camera
    light: Light
    random: np.random.Generator

    def air(self, z: float) -> tuple[Color, float]:
        """Color and share of the air at distance z."""
        return self.light.sky[1], 1 - float(np.exp(-z / 160))

    def outline(self, at: tuple[float, float], points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Pixels of a flat figure that stands at (X, Z) and faces the camera; points are (right, up) in meters."""
        return [self.camera.project((at[0] + right, up, at[1])) for right, up in points]

    def ground_shadow(self, at: tuple[float, float], height: float, radii: tuple[float, float]) -> None:
        """Shadow of something round: `radii` to the right and away, `height` above the ground at (X, Z)."""
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        x, z = at[0] + self.light.sun[0] * height, at[1] + self.light.sun[1] * height
        points = [(x + radii[0] * np.cos(a), 0.0, z + radii[1] * np.sin(a)) for a in angles]
        self.canvas.shade([self.camera.project(point) for point in points], 1 - self.light.shadow, -0.02)


def shade_house(stage: Stage, side: int, distance: float, near: float, far: float, height: float) -> None:
    """The shadow that a house throws on the street, if the sun stands behind it; arguments as for `paint_house`."""
    across, away = (share * height for share in stage.light.sun)
    if across * side < 0:
        x = side * distance
        corners = [(x, near), (x, far), (x + across, far + away), (x + across, near + away)]
        points = [stage.camera.project((px, 0, pz)) for px, pz in corners]
        stage.canvas.shade(points, 1 - stage.light.shadow, -0.03)


def paint_house(stage: Stage, side: int, distance: float, near: float, far: float, height: float) -> None:
    """A box beside the road with a street front and a gable wall, both with windows.

    Args:
        stage: where to paint.
        side: -1 left of the road, 1 right of it.
        distance: of the street front from the middle of the road.
        near: nearest Z.
        far: farthest Z.
        height: of the walls.
    """
    tone = stage.random.choice(WALL_COLORS) * stage.random.uniform(0.8, 1.1)
    heat = stage.random.uniform(0.32, 0.42)
    x = side * distance
    sunny = np.sign(stage.light.sun[0]) == side
    street = [(x, z) for z in np.linspace(far, near, 2)]
    gable = [(x, near), (x + side * stage.random.uniform(8, 13), near)]
    for corners, shade in ((gable, 0.95 if stage.light.sun[1] > 0 else 0.7), (street, 1.0 if sunny else 0.72)):
        _wall(stage, corners, height, tone * shade, heat * (0.94 + 0.1 * shade))
        _windows(stage, corners, height, heat)
    ridge = [stage.camera.project((px, y, pz)) for px, pz, y in ((x, far, height), (x, near, height))]
    overhang = [stage.camera.project((x - side * 0.4, height + 0.35, z)) for z in (near, far)]
    stage.canvas.polygon([*ridge, *overhang], (0.25, 0.2, 0.19), heat - 0.08, fog=stage.air(near))


def _wall(stage: Stage, corners: Sequence[tuple[float, float]], height: float, tone: np.ndarray, heat: float) -> None:
    (x0, z0), (x1, z1) = corners
    fog = stage.air((z0 + z1) / 2)
    points = [stage.camera.project(p) for p in ((x0, 0, z0), (x0, height, z0), (x1, height, z1), (x1, 0, z1))]
    color = (float(tone[0]), float(tone[1]), float(tone[2]))
    stage.canvas.polygon(points, color, heat, rough=0.07, fog=fog)
    base = [stage.camera.project(p) for p in ((x0, 0, z0), (x0, 0.7, z0), (x1, 0.7, z1), (x1, 0, z1))]
    stage.canvas.polygon(base, (color[0] * 0.6, color[1] * 0.6, color[2] * 0.6), heat + 0.04, rough=0.1, fog=fog)


def _windows(stage: Stage, corners: Sequence[tuple[float, float]], height: float, heat: float) -> None:
    (x0, z0), (x1, z1) = corners
    length = float(np.hypot(x1 - x0, z1 - z0))
    if 1.5 * stage.camera.scale(min(z0, z1)) < 3:
        return  # smaller than three pixels
    columns, floors = max(int(length / 2.6), 1), max(int((height - 0.8) / 3), 1)
    for floor in range(floors):
        for column in range(columns):
            start, end = ((column + edge) / columns for edge in (0.28, 0.72))
            low, high = 1.1 + 3 * floor, 2.6 + 3 * floor
            along = [(x0 + (x1 - x0) * t, z0 + (z1 - z0) * t) for t in (start, end)]
            bright = stage.random.random() < stage.light.lit
            color = (1.0, 0.82, 0.5) if bright else (0.16, 0.2, 0.26)
            warmth = heat + (0.1 if bright else -0.1) + stage.random.normal(0, 0.02)
            for grow, tone, warm in ((0.12, (0.72, 0.7, 0.66), heat), (0.0, color, warmth)):
                ends = ((along[0], low - grow, high + grow), (along[1], low - grow, high + grow))
                (a, bottom, top), (b, *_) = ends
                points = [(a[0], bottom, a[1]), (a[0], top, a[1]), (b[0], top, b[1]), (b[0], bottom, b[1])]
                glow = 0.75 if bright and not grow else 0.0
                pixels = [stage.camera.project(p) for p in points]
                stage.canvas.polygon(pixels, tone, warm, rough=0.04, glow=glow, fog=stage.air(a[1]))


def paint_tree(stage: Stage, at: tuple[float, float], height: float) -> None:
    """A trunk and a crown of many leaves' clumps, lit from above; `at` is (X, Z)."""
    random, scale, fog = stage.random, stage.camera.scale(at[1]), stage.air(at[1])
    width = 0.035 * height
    trunk = [(-width, 0), (-width * 0.7, height * 0.5), (width * 0.7, height * 0.5), (width, 0)]
    stage.canvas.polygon(stage.outline(at, trunk), (0.25, 0.19, 0.14), 0.33, rough=0.2, fog=fog)
    radius = height * random.uniform(0.26, 0.34)
    green = np.array([0.25, 0.38, 0.14]) * random.uniform(0.7, 1.15, 3)
    count = int(np.clip(radius * scale * 1.5, 8, 130))  # far trees are small: few clumps are enough
    angles, reach = random.uniform(0, 2 * np.pi, count), np.sqrt(random.uniform(0, 1, count))
    clumps = np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1)
    for right, up in sorted(clumps.tolist(), key=lambda clump: clump[1]):
        lit = 0.55 + 0.3 * (up + 1) - 0.15 * right * np.sign(stage.light.sun[0]) + random.normal(0, 0.1)
        center = stage.camera.project((at[0] + right * radius, height * 0.66 + up * radius * 0.9, at[1]))
        size = radius * scale * random.uniform(0.12, 0.24) * (130 / count) ** 0.35
        r, g, b = (green * lit).tolist()
        stage.canvas.ellipse(
            center, (size, size * 0.85), (r, g, b), 0.235 + random.normal(0, 0.006), rough=0.35, fog=fog
        )


def paint_lamp(stage: Stage, at: tuple[float, float]) -> None:
    """A street lamp with its arm over the road; `at` is (X, Z)."""
    inward = -float(np.sign(at[0]))
    fog = stage.air(at[1])
    pole = [(-0.06, 0), (-0.04, 5.6), (0.04, 5.6), (0.06, 0)]
    arm = [(0, 5.5), (inward * 1.3, 5.75), (inward * 1.3, 5.85), (0, 5.62)]
    for part in (pole, arm):
        stage.canvas.polygon(stage.outline(at, part), (0.3, 0.31, 0.32), 0.3, fog=fog)
    head = stage.camera.project((at[0] + inward * 1.4, 5.75, at[1]))
    scale = stage.camera.scale(at[1])
    shining = stage.light.lit > 0
    color = (1.0, 0.9, 0.68) if shining else (0.6, 0.6, 0.58)
    stage.canvas.ellipse(
        head, (0.32 * scale, 0.11 * scale), color, 0.6 if shining else 0.3, glow=1.5 * shining, fog=fog
    )


def paint_person(stage: Stage, at: tuple[float, float], height: float) -> None:
    """Somebody on foot: warm, whatever they wear; `at` is (X, Z)."""
    random, fog, h = stage.random, stage.air(at[1]), height
    stride, lean = random.uniform(0.03, 0.11), random.choice([-1, 1])
    coat, trousers = (random.uniform(0.07, 0.5) * random.uniform(0.72, 1.28, 3) for _ in range(2))
    skin = (0.72, 0.55, 0.45)
    legs = [
        [(-0.07, 0.48), (0.01, 0.48), (0.05 - stride, 0), (-0.03 - stride, 0)],
        [(-0.01, 0.48), (0.07, 0.48), (stride + 0.04, 0), (stride - 0.04, 0)],
    ]
    arms = [
        [(s * 0.1, 0.8), (s * 0.13, 0.78), (s * (0.13 + swing), 0.46), (s * (0.09 + swing), 0.46)]
        for s, swing in ((-1, stride * 0.4), (1, stride * 0.5))
    ]
    torso = [(-0.1, 0.83), (0.1, 0.83), (0.085, 0.62), (0.1, 0.45), (-0.1, 0.45), (-0.085, 0.62)]
    for parts, tone, heat in ((legs, trousers, 0.7), (arms, coat * 0.85, 0.74), ([torso], coat, 0.78)):
        r, g, b = tone.tolist()
        for part in parts:
            outline = stage.outline(at, [(right * h, up * h) for right, up in part])
            stage.canvas.polygon(outline, (r, g, b), heat, rough=0.12, fog=fog)
    scale = stage.camera.scale(at[1])
    head = stage.camera.project((at[0] + lean * 0.01 * h, 0.915 * h, at[1]))
    stage.canvas.ellipse(head, (0.058 * h * scale, 0.078 * h * scale), skin, 0.97, rough=0.05, fog=fog)
    hair = stage.camera.project((at[0] + lean * 0.004 * h, 0.95 * h, at[1]))
    stage.canvas.ellipse(hair, (0.06 * h * scale, 0.05 * h * scale), (0.16, 0.11, 0.08), 0.8, fog=fog)


def paint_car(stage: Stage, at: tuple[float, float], *, oncoming: bool) -> None:
    """A car from behind, or from in front if it is `oncoming`; `at` is (X, Z)."""
    random, fog, scale = stage.random, stage.air(at[1]), stage.camera.scale(at[1])
    r, g, b = random.choice(CAR_COLORS).tolist()
    for right in (-0.72, 0.72):
        wheel = [(right - 0.13, 0), (right - 0.13, 0.55), (right + 0.13, 0.55), (right + 0.13, 0)]
        stage.canvas.polygon(stage.outline(at, wheel), (0.05, 0.05, 0.05), 0.62, fog=fog)
    body = [(-0.88, 0.25), (-0.9, 0.75), (-0.82, 0.98), (0.82, 0.98), (0.9, 0.75), (0.88, 0.25)]
    cabin = [(-0.78, 0.96), (-0.6, 1.46), (0.6, 1.46), (0.78, 0.96)]
    glass = [(-0.68, 1.0), (-0.54, 1.38), (0.54, 1.38), (0.68, 1.0)]
    hood = [(-0.66, 0.5), (-0.7, 0.94), (0.7, 0.94), (0.66, 0.5)]
    plate = [(-0.26, 0.45), (-0.26, 0.56), (0.26, 0.56), (0.26, 0.45)]
    warm = 0.72 if oncoming else 0.42
    stage.canvas.polygon(stage.outline(at, cabin), (r * 0.9, g * 0.9, b * 0.9), 0.4, fog=fog)
    stage.canvas.polygon(stage.outline(at, glass), (0.13, 0.16, 0.19), 0.27, fog=fog)
    stage.canvas.polygon(stage.outline(at, body), (r, g, b), 0.4, fog=fog)
    stage.canvas.polygon(stage.outline(at, hood), (r * 0.82, g * 0.82, b * 0.82), warm, fog=fog)
    stage.canvas.polygon(stage.outline(at, plate), (0.85, 0.85, 0.8), 0.38, fog=fog)
    lamp = (1.0, 0.97, 0.85) if oncoming else (0.85, 0.06, 0.04)
    shining = 1.8 if stage.light.lit > 0 else 0.0
    for right in (-0.7, 0.7):
        center = stage.camera.project((at[0] + right, 0.72, at[1]))
        stage.canvas.ellipse(center, (0.14 * scale, 0.09 * scale), lamp, 0.55, glow=shining, fog=fog)
    if not oncoming:
        exhaust = stage.camera.project((at[0] + 0.45, 0.26, at[1]))
        stage.canvas.ellipse(exhaust, (0.1 * scale, 0.06 * scale), (0.1, 0.1, 0.1), 1.0, fog=fog)
