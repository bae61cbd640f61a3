"""Retained accuracy against recovery as SVG: one point per method, bars of one standard deviation."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.baselines.registry import Baseline, Kind
from benchmarks.comparison.tables import Result, value_of

WIDTH, HEIGHT = 760, 480
LEFT, RIGHT, TOP, BOTTOM = 60, 540, 30, 400
COLOURS: Mapping[Kind, str] = {
    "target": "#009e73",
    "control": "#767676",
    "training": "#d55e00",
    "closed form": "#0072b2",
}
SPAN = 25
"""Points of retained accuracy below the original's that the plot shows; a method further down lies on its edge."""


@dataclass(frozen=True)
class Point:
    """Mean and standard deviation of a method, in per cent: x is recovery, y retained accuracy."""

    name: str
    kind: Kind
    x: float
    y: float
    dx: float
    dy: float


@dataclass(frozen=True)
class Scale:
    """From figures to the plane of the drawing; what lies below `bottom` is put on the edge."""

    bottom: float

    def x(self, value: float) -> float:
        return LEFT + (RIGHT - LEFT) * value / 100

    def y(self, value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (max(value, self.bottom) - self.bottom) / (100 - self.bottom)


def svg(results: Sequence[Result], baselines: Mapping[str, Baseline]) -> str:
    """Draw results that know their recovery (see `tables.beside_retrained`)."""
    points = [point for one in baselines.values() if (point := point_of(one, results)) is not None]
    before = next((point.y for point in points if point.name == "original"), max(point.y for point in points))
    scale = Scale(bottom=max(0.0, 5 * ((before - SPAN) // 5)))
    parts = [
        _frame(scale),
        *_kinds(),
        *(_goal(point, scale) for point in points if point.kind == "target"),
        *(_bars(point, scale) for point in points),
    ]
    parts += [_mark(number, point, scale) for number, point in enumerate(points, start=1)]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12" fill="#222"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style} role="img">'
    title = "<title>Retained accuracy against recovery; best is top and as far left as the retrained model</title>"
    return "\n".join([head, title, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *parts, "</svg>", ""])


def point_of(baseline: Baseline, results: Sequence[Result]) -> Point | None:
    """A method's point; None where it was not measured."""
    found = [result for result in results if result["method"] == baseline.name]
    if not found:
        return None
    x, y = (
        [read(result) or 0.0 for result in found] for read in (value_of("recovery"), value_of("test_retain_accuracy"))
    )
    dx, dy = (statistics.stdev(values) if len(values) > 1 else 0.0 for values in (x, y))
    return Point(baseline.name, baseline.kind, statistics.fmean(x), statistics.fmean(y), dx, dy)


def _frame(scale: Scale) -> str:
    lines = [f'<rect x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}" height="{BOTTOM - TOP}" fill="none" stroke="#999"/>']
    lines += [_text(scale.x(value), BOTTOM + 18, f"{value}", "middle") for value in range(0, 101, 20)]
    for value in range(int(scale.bottom), 101, 5):
        y = scale.y(value)
        lines.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        lines.append(_text(LEFT - 6, y + 4, f"{value}", "end"))
    lines.append(_text((LEFT + RIGHT) / 2, BOTTOM + 40, "recovery: forget accuracy that comes back, %", "middle"))
    lines.append(_text(LEFT, TOP - 10, "retained accuracy, %", "start"))
    return "\n".join(lines)


def _goal(point: Point, scale: Scale) -> str:
    """A broken line where the retrained model's recovery is."""
    x, stroke = scale.x(point.x), f'stroke="{COLOURS[point.kind]}" stroke-dasharray="4 3"'
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{BOTTOM}" {stroke}/>'


def _bars(point: Point, scale: Scale) -> str:
    x, y = scale.x(point.x), scale.y(point.y)
    left, right = scale.x(max(0.0, point.x - point.dx)), scale.x(min(100.0, point.x + point.dx))
    low, high = scale.y(point.y - point.dy), scale.y(min(100.0, point.y + point.dy))
    stroke = f'stroke="{COLOURS[point.kind]}" stroke-opacity="0.35"'
    return f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" {stroke}/><path d="M{x:.1f} {low:.1f}V{high:.1f}" {stroke}/>'


def _mark(number: int, point: Point, scale: Scale) -> str:
    """The numbered point, and its line in the legend."""
    x, y, row, colour = scale.x(point.x), scale.y(point.y), TOP + 8 + 22 * (number - 1), COLOURS[point.kind]
    circles = [f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="9" fill="{colour}"/>' for cx, cy in ((x, y), (RIGHT + 25, row))]
    numbers = [
        f'<text x="{cx:.1f}" y="{cy + 3.5:.1f}" text-anchor="middle" font-size="10" fill="#fff">{number}</text>'
        for cx, cy in ((x, y), (RIGHT + 25, row))
    ]
    told = escape(point.name) if point.y >= scale.bottom else f"{escape(point.name)} (retains {point.y:.0f} %)"
    return "\n".join([*circles, *numbers, _text(RIGHT + 40, row + 4, told, "start")])


def _kinds() -> list[str]:
    """What the colours mean, in one line at the bottom."""
    parts = []
    for place, (kind, colour) in enumerate(COLOURS.items()):
        x, y = LEFT + 120 * place, BOTTOM + 58
        parts += [
            f'<rect x="{x}" y="{y}" width="10" height="10" fill="{colour}"/>',
            _text(x + 16, y + 9, kind, "start"),
        ]
    return parts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
