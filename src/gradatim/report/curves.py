"""Line charts as SVG text: small, static, self-contained."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 170, 52, 22
COLORS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")


def chart(title: str, lines: Mapping[str, Points], *, log: bool = False) -> str:
    """A chart of one or several lines over steps; values that are not finite are left out.

    Args:
        title: above the chart.
        lines: (step, value) by name.
        log: a logarithmic value axis, where all values are above 0.
    """
    kept = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in lines.items()}
    values = [y for points in kept.values() for _, y in points]
    if not values:
        return ""
    log = log and min(values) > 0
    low, high = min(values), max(values)
    steps = [x for points in kept.values() for x, _ in points]
    first, last = min(steps), max(steps)
    place = _scale(first, last, low, high, log)
    body = [f'<text x="{LEFT}" y="12" class="title">{escape(title)}</text>']
    for value in dict.fromkeys((low, high)):
        _, y = place(first, value)
        body.append(f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - 6}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
    for index, (name, points) in enumerate(kept.items()):
        color = COLORS[index % len(COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in _thinned(points)))
        body.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        legend = LEFT + 8 + 130 * (index % 3)
        body.append(f'<text x="{legend}" y="{26 + 11 * (index // 3)}" style="fill: {color}">{escape(name)}</text>')
    body.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">{first:g}</text>')
    body.append(f'<text x="{WIDTH - 6}" y="{HEIGHT - 6}" text-anchor="end">step {last:g}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'


def _scale(
    first: float, last: float, low: float, high: float, log: bool
) -> Callable[[float, float], tuple[float, float]]:
    """A function of (step, value) to pixels."""
    forward = math.log if log else float
    bottom, top = forward(low), forward(high)

    def place(step: float, value: float) -> tuple[float, float]:
        across = (step - first) / ((last - first) or 1)
        up = (forward(value) - bottom) / ((top - bottom) or 1)
        return LEFT + across * (WIDTH - LEFT - 6), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - 40)

    return place


def _thinned(points: Points, most: int = 400) -> Points:
    """At most `most` points, evenly taken, the last one kept."""
    stride = max(1, -(-len(points) // most))
    return [*points[::stride], points[-1]]
