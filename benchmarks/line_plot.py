"""A plot of a few curves as SVG, readable on light and dark pages, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 44, 74
COLOURS = ("#3577c9", "#d9752b", "#3b9659", "#a35bb5")


@dataclass(frozen=True)
class Curve:
    """A named line through points (x, y); y from 0 to 1."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_plot(title: str, curves: Sequence[Curve], *, across: str, up: str) -> str:
    """The SVG text. The y axis goes from 0 to 1, the x axis from the least to the largest x of all curves."""
    xs = [x for curve in curves for x, _ in curve.points]
    low, high = min(xs), max(xs)

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="26" font-size="15" font-weight="600" fill="#222">{escape(title)}</text>',
    ]
    for step in range(6):
        y = step / 5
        x0, y0 = place(low, y)
        parts.append(f'<line x1="{x0:.1f}" x2="{WIDTH - RIGHT}" y1="{y0:.1f}" y2="{y0:.1f}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{x0 - 8:.1f}" y="{y0 + 4:.1f}" text-anchor="end" fill="#555">{y:g}</text>')
    for x in _ticks(low, high):
        x0, y0 = place(x, 0.0)
        parts.append(f'<line x1="{x0:.1f}" x2="{x0:.1f}" y1="{y0:.1f}" y2="{y0 + 5:.1f}" stroke="#999"/>')
        parts.append(f'<text x="{x0:.1f}" y="{y0 + 19:.1f}" text-anchor="middle" fill="#555">{x:g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 36}" text-anchor="end" fill="#555">{escape(across)}</text>')
    parts.append(
        f'<text x="16" y="{middle:.0f}" text-anchor="middle" fill="#555" '
        f'transform="rotate(-90 16 {middle:.0f})">{escape(up)}</text>'
    )
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        spots = [place(*point) for point in curve.points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>' for x, y in spots]
        x, y = LEFT + number * 170, HEIGHT - 15
        parts.append(f'<line x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 31}" y="{y + 5}" fill="#222">{escape(curve.name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers."""
    rough = (high - low) / 6 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((1.0, 2.0, 2.5, 5.0, 10.0), key=lambda each: abs(each * power - rough)) * power
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 6) for number in range(first, math.floor(high / step + 1e-9) + 1)]
