"""What several plots have in common: the sign of each model, and the legend that explains it."""

from collections.abc import Iterable

from app.audit.plots.colours import LOOKS
from app.audit.plots.svg import Node, Point, group, line, node, path, width_of, words

RADIUS = 4.5
_SAMPLE = 34.0
GRID = 0.18
"""Opacity of lines that only guide the eye."""


def sign(model: str, at: Point) -> Node:
    """The sign of a model: a ring for the original, a disc for the unlearned one, a diamond for the reference."""
    look, (x, y) = LOOKS[model], at
    if look.shape == "diamond":
        corners = [(x, y - RADIUS - 1), (x + RADIUS + 1, y), (x, y + RADIUS + 1), (x - RADIUS - 1, y)]
        return path(corners, is_closed=True, fill=look.colour)
    if look.shape == "ring":
        return node("circle", cx=x, cy=y, r=RADIUS - 0.5, fill="none", stroke=look.colour, stroke_width=2)
    return node("circle", cx=x, cy=y, r=RADIUS, fill=look.colour)


def legend(models: Iterable[str], at: Point, *, has_lines: bool) -> Node:
    """One row that says which sign is which model; `has_lines` shows their dashes too."""
    x, y = at
    parts = []
    for model in models:
        look = LOOKS[model]
        if has_lines:
            ends = (x, y - 4), (x + _SAMPLE, y - 4)
            parts.append(line(*ends, stroke=look.colour, stroke_width=2, stroke_dasharray=look.dash))
        sample = _SAMPLE if has_lines else 2 * RADIUS
        parts += [sign(model, (x + sample / 2, y - 4)), words((x + sample + 6, y), look.words)]
        x += sample + 6 + width_of(look.words) + 18
    return group(*parts)
