"""Pairs of pictures of streets that do not exist: for demos, tests and documentation.

Both pictures show the same geometry, pixel for pixel. The visible one has light, texture, shadows and color;
at night it hides what the lamps do not reach. The infrared one has little texture and soft noise, and people,
engines and wheels are bright in it by day and night. So each holds something that the other lacks, as real pairs do.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from gradatim.data.image import Picture, write_image
from gradatim.systems.maefuse.figures import (
    Light,
    Stage,
    paint_car,
    paint_house,
    paint_lamp,
    paint_person,
    paint_tree,
    shade_house,
)
from gradatim.systems.maefuse.scenery import Array, Camera, Canvas, blur, fractal, zoom

LIGHTS = {
    "day": Light((1.0, 0.98, 0.94), ((0.32, 0.52, 0.82), (0.78, 0.86, 0.93)), (0.85, -0.3), 0.55, 0.0, 0.03),
    "overcast": Light((0.82, 0.84, 0.87), ((0.62, 0.66, 0.71), (0.8, 0.82, 0.84)), (0.05, 0.05), 0.3, 0.0, 0.12),
    "dusk": Light((0.34, 0.31, 0.38), ((0.22, 0.25, 0.42), (0.82, 0.56, 0.42)), (-1.1, 0.2), 0.3, 0.25, 0.06),
    "night": Light((0.075, 0.085, 0.12), ((0.03, 0.04, 0.09), (0.11, 0.11, 0.16)), (0.0, 0.0), 0.25, 0.35, 0.05),
}
OVERSAMPLING = 2


def make_scene(size: tuple[int, int], seed: int) -> tuple[Picture, Picture]:
    """One scene by its two cameras; equal arguments give equal pictures.

    Args:
        size: (H, W), at least 32 x 32.
        seed: chooses everything: time of day, houses, trees, cars, people.

    Returns:
        Visible picture (H, W, 3) uint8, RGB, and infrared picture (H, W) uint8.
    """
    random = np.random.default_rng([0x5CE9E, seed])
    light = LIGHTS[list(LIGHTS)[seed % len(LIGHTS)]]
    large = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
    camera = Camera(
        height=random.uniform(1.8, 3.2),
        focal=large[0] * random.uniform(0.95, 1.25),
        center=(large[1] * random.uniform(0.4, 0.6), large[0] * random.uniform(0.36, 0.46)),
    )
    stage = Stage(Canvas(large, random), camera, light, random)
    _paint_sky(stage)
    _paint_ground(stage)
    lamps = _paint_figures(stage)
    return _see_visible(stage, size, lamps), _see_infrared(stage, size)


def write_scenes(folder: Path, count: int, *, size: tuple[int, int] = (240, 320), seed: int = 0) -> list[str]:
    """Write pairs `vi/scene_000.png`, `ir/scene_000.png` and so on.

    Args:
        folder: where; made if it does not exist.
        count: number of pairs.
        size: (H, W) of each picture.
        seed: of the first scene; the next has the next number.

    Returns:
        The names without suffix.
    """
    names = [f"scene_{index:03d}" for index in range(count)]
    for sub in ("vi", "ir"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        visible, infrared = make_scene(size, seed + index)
        write_image(folder / "vi" / f"{name}.png", visible)
        write_image(folder / "ir" / f"{name}.png", infrared)
    return names


def _paint_sky(stage: Stage) -> None:
    """Sky with clouds, and wooded hills at the horizon."""
    canvas, light, horizon = stage.canvas, stage.light, stage.camera.center[1]
    height, width = canvas.size
    down = (np.arange(height)[:, None] / horizon).clip(0, 1)
    clouds = fractal((height, width), stage.random, coarsest=3)
    cover = (clouds * 0.5 + stage.random.uniform(-0.5, 0.4)).clip(0, 1) * (1 - 0.6 * down)
    top, low = (np.array(color) for color in light.sky)
    sky = top + (low - top) * down[:, :, None] ** 1.5
    white = low * 0.5 + 0.5 * np.minimum(low * 1.25, 1)
    canvas.color[:] = sky + (white - sky) * 0.8 * cover[:, :, None]
    canvas.heat[:] = light.sky_heat + 0.1 * down**3 + 0.07 * cover
    for distance, rise in ((420.0, 0.075), (260.0, 0.05)):
        profile = zoom(stage.random.standard_normal((1, 9)), (1, width))[0]
        profile = profile + 0.25 * fractal((2, width), stage.random, coarsest=24)[0]
        crest = horizon - height * rise * (0.45 + 0.28 * profile).clip(0.05)
        points = [(float(x), float(y)) for x, y in enumerate(crest)]
        corners = [(width, horizon + 2), (0, horizon + 2)]
        color, share = stage.air(distance)
        fog = (color, min(share, 0.72))
        canvas.polygon([*points, *corners], (0.2, 0.28, 0.16), 0.2, rough=0.3, fog=fog)


def _paint_ground(stage: Stage) -> None:
    """Asphalt with lines, pavements with slabs, and grass."""
    canvas, camera = stage.canvas, stage.camera
    x, z, below = camera.ground(canvas.size)
    texture = fractal((512, 512), stage.random, coarsest=16, fall=0.8)
    near = np.exp(-z / 14)
    grain = texture[(z * 36).astype(int) % 512, (x * 36).astype(int) % 512] * near
    patches = texture[(z * 5).astype(int) % 512, (x * 5).astype(int) % 512] * np.exp(-z / 45)
    side = np.abs(x)
    road, pavement = side < 3.6, (side >= 3.6) & (side < 6.2)
    color = np.empty((*canvas.size, 3))
    color[:] = np.array([0.3, 0.38, 0.17]) * (1 + 0.22 * grain + 0.14 * patches)[:, :, None]
    color[road] = (np.array([0.34, 0.34, 0.35]) * (1 + 0.1 * grain + 0.07 * patches)[:, :, None])[road]
    slabs = (np.mod(z, 1.2) < 0.05) | (np.mod(side - 3.6, 0.9) < 0.04)
    stone = np.array([0.56, 0.54, 0.51]) * (1 + 0.06 * grain + 0.05 * patches - 0.25 * slabs * near)[:, :, None]
    color[pavement] = stone[pavement]
    lines = ((side < 0.07) & (np.mod(z, 6) < 3)) | ((side > 3.25) & (side < 3.37))
    color[lines] = (0.86, 0.86, 0.82)
    color[(side >= 3.55) & (side < 3.75)] = (0.68, 0.67, 0.65)
    air, _ = stage.air(0)
    fog = (1 - np.exp(-z / 160))[:, :, None]
    canvas.color[below] = (color * (1 - fog) + np.array(air) * fog)[below]
    heat = np.where(road, 0.44, np.where(pavement, 0.4, 0.27)) + 0.012 * patches + 0.008 * grain
    tracks = np.exp(-((side - 1.75) ** 2) / 0.9)
    canvas.heat[below] = ((heat + 0.03 * tracks * road) * (1 - 0.4 * fog[:, :, 0]))[below]


def _paint_figures(stage: Stage) -> list[tuple[float, float]]:
    """Shadows first, then everything that stands, from far to near; returns where lamps stand, (X, Z)."""
    random = stage.random
    figures: list[tuple[float, Callable[[], None]]] = []
    lamps = [(side * 4.0, z) for side, first in ((-1, 9.0), (1, 18.0)) for z in np.arange(first, 90, 18.0).tolist()]
    for at in lamps:
        figures.append((at[1], partial(paint_lamp, stage, at)))
    _place_houses_and_trees(stage, figures)
    for lane, oncoming in ((1.8, False), (-1.8, True)):
        for z in random.uniform(0, 7) + np.cumsum(random.uniform(8, 26, random.integers(1, 4))):
            at = (lane + random.normal(0, 0.15), float(z))
            stage.ground_shadow(at, 0.1, (1.05, 1.6))
            warm = [(at[0] + dx, 0.0, at[1] + dz) for dx, dz in ((-0.8, -0.3), (-0.8, 2), (0.8, 2), (0.8, -0.3))]
            stage.canvas.shade([stage.camera.project(point) for point in warm], 0.6, 0.14)
            figures.append((at[1], partial(paint_car, stage, at, oncoming=oncoming)))
    for _ in range(random.integers(3, 8)):
        walks = random.random() < 0.8
        x = random.choice([-1, 1]) * random.uniform(3.9, 5.8) if walks else random.uniform(-3, 3)
        at = (float(x), random.uniform(7, 26))
        stage.ground_shadow(at, 0.45, (0.3 + abs(stage.light.sun[0]) * 0.5, 0.22 + stage.light.sun[1] * 0.4))
        tall = float(random.normal(1.74, 0.08))
        figures.append((at[1], partial(paint_person, stage, at, tall)))
    for _, paint in sorted(figures, key=lambda figure: -figure[0]):
        paint()
    return lamps


def _place_houses_and_trees(stage: Stage, figures: list[tuple[float, Callable[[], None]]]) -> None:
    random = stage.random
    for side in (-1, 1):
        near = random.uniform(9, 22)
        built_up = random.random() < 0.75
        while near < 110:
            far = near + random.uniform(9, 20)
            if built_up and random.random() < 0.8:
                place = (random.uniform(8.5, 12), near, far, random.uniform(6.5, 15))
                shade_house(stage, side, *place)
                figures.append((far, partial(paint_house, stage, side, *place)))
            else:
                for _ in range(random.integers(2, 5)):
                    at = (side * random.uniform(9, 22), random.uniform(near, far))
                    _place_tree(stage, figures, at)
            if random.random() < 0.55:
                _place_tree(stage, figures, (side * random.uniform(6.6, 7.6), near - random.uniform(0, 4)))
            near = far + random.uniform(0, 7)


def _place_tree(stage: Stage, figures: list[tuple[float, Callable[[], None]]], at: tuple[float, float]) -> None:
    tall = stage.random.uniform(5, 9.5)
    stage.ground_shadow(at, tall * 0.66, (tall * 0.3, tall * 0.3))
    figures.append((at[1], partial(paint_tree, stage, at, tall)))


def _see_visible(stage: Stage, size: tuple[int, int], lamps: list[tuple[float, float]]) -> Picture:
    """Light on the painted colors, the glow of what shines, and the camera's own faults."""
    canvas, light = stage.canvas, stage.light
    lit = canvas.color * np.array(light.ambient)
    is_sky = np.arange(canvas.size[0])[:, None] < stage.camera.center[1]
    # The sky's color is what one sees of it, not what it reflects.
    untouched = is_sky & (canvas.heat < 0.2)
    lit[untouched] = canvas.color[untouched]
    if light.lit:
        lit += canvas.color * _lamp_light(stage, lamps)[:, :, None] * np.array([1.0, 0.86, 0.62])
    picture = _shrink(lit, size)
    if canvas.glow.any():
        glow = _shrink(canvas.glow, size)
        for strength, spread in ((1.0, 0.001), (0.5, 0.008), (0.35, 0.03)):
            picture += strength * np.stack([blur(plane, spread * size[0]) for plane in np.moveaxis(glow, -1, 0)], -1)
    noise = stage.random.normal(0, 1, picture.shape) * (0.006 + 0.014 * (light.lit > 0.3))
    rows, columns = (np.linspace(-1, 1, side) ** 2 for side in size)
    vignette = 1 - 0.1 * (rows[:, None] + columns[None, :])
    return _to_8_bit((picture * vignette[:, :, None]).clip(0) ** 0.85 + noise)


def _lamp_light(stage: Stage, lamps: list[tuple[float, float]]) -> Array:
    """Light of the street lamps and head lamps on each pixel (H, W)."""
    x, z, below = stage.camera.ground(stage.canvas.size)
    total = np.zeros(stage.canvas.size)
    for lamp_x, lamp_z in lamps:
        inner_x = lamp_x * 0.65
        total += np.where(below, 0.75 * np.exp(-((x - inner_x) ** 2 / 9 + (z - lamp_z) ** 2 / 14)), 0)
        center = stage.camera.project((inner_x, 3.2, lamp_z))
        reach = 3.2 * stage.camera.scale(lamp_z)
        rows, columns = np.ogrid[: stage.canvas.size[0], : stage.canvas.size[1]]
        total += 0.35 * np.exp(-((rows - center[1]) ** 2 + (columns - center[0]) ** 2) / (2 * (0.6 * reach) ** 2))
    return total.clip(0, 1.0)


def _see_infrared(stage: Stage, size: tuple[int, int]) -> Picture:
    """Heat through a soft lens, with the drift and the grain of an uncooled sensor."""
    heat = blur(stage.canvas.heat, 0.0024 * stage.canvas.size[0])
    picture = _shrink(heat[:, :, None], size)[:, :, 0]
    picture = picture + 0.15 * (blur(picture, 0.02 * size[0]) - picture.mean()) * 0.4
    drift = 0.012 * fractal(size, stage.random, coarsest=2, fall=0.3)
    stripes = 0.004 * stage.random.standard_normal((1, size[1]))
    noise = 0.008 * stage.random.standard_normal(size)
    return _to_8_bit(0.03 + 0.95 * picture + drift + stripes + noise)


def _shrink(picture: Array, size: tuple[int, int]) -> Array:
    """Mean over the pixels that make up one of the result, (H, W, C)."""
    height, width = size
    small: Array = picture.reshape(height, OVERSAMPLING, width, OVERSAMPLING, -1).mean(axis=(1, 3))
    return small


def _to_8_bit(values: Array) -> Picture:
    rounded: Picture = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return rounded
