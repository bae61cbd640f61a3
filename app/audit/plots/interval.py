"""One test of a verdict: where its interval lies, and where it must lie."""

from app.audit.plots.axes import Axis, told
from app.audit.plots.colours import ALLOWED
from app.audit.plots.svg import Node, group, line, node, picture, width_of, words

WIDTH, PAD = 170.0, 10.0
LINE, TOP, BOTTOM = 18.0, 6.0, 30.0


def draw(
    name: str, title: str, *, value: float, ends: tuple[float, float], margin: tuple[float | None, float | None]
) -> str:
    """The interval as a line over the range that the margin allows.

    Args:
        name: of the test, for ids.
        title: of the test.
        value: point estimate.
        ends: of its 95 % interval.
        margin: what the interval must not fall below and not exceed; an open side is None.
    """
    axis = _axis(value, ends, margin)
    low, high = (axis.at(end) for end in ends)
    limits = [limit for limit in margin if limit is not None]
    return picture(
        f"interval-{name}",
        title,
        f"Interval from {told(ends[0])} to {told(ends[1])}; it must lie {_told_margin(margin)}.",
        (WIDTH, 50),
        _allowed(axis, margin),
        *(line((axis.at(limit), TOP), (axis.at(limit), BOTTOM), stroke=ALLOWED, stroke_width=2) for limit in limits),
        line((low, LINE), (high, LINE), stroke_width=3),
        *(line((end, LINE - 5), (end, LINE + 5), stroke_width=2) for end in (low, high)),
        node("circle", cx=axis.at(value), cy=LINE, r=4.5, fill="currentColor"),
        *_labels(axis, limits),
    )


def _axis(value: float, ends: tuple[float, float], margin: tuple[float | None, float | None]) -> Axis:
    """All ends with some room; an open side of the margin goes on to the edge."""
    places = [value, *ends, *(limit for limit in margin if limit is not None)]
    low, high = min(places), max(places)
    room = 0.15 * (high - low) or 0.1
    # Shares and distances: an axis that goes below 0 would show what cannot be.
    floor = 0.0 if low >= 0 and low - room < 0 else low - room
    return Axis(low=floor, high=high + room, start=PAD, end=WIDTH - PAD)


def _allowed(axis: Axis, margin: tuple[float | None, float | None]) -> Node:
    low = axis.start if margin[0] is None else axis.at(margin[0])
    high = axis.end if margin[1] is None else axis.at(margin[1])
    return node("rect", x=low, y=TOP, width=high - low, height=BOTTOM - TOP, fill=ALLOWED, fill_opacity=0.22)


def _labels(axis: Axis, limits: list[float]) -> list[Node]:
    """The margin's ends in numbers, kept inside the picture and apart."""
    made, free = [], 0.0
    for limit in limits:
        text = f"{limit:g}"
        half = width_of(text) / 2
        x = min(max(axis.at(limit), half, free + half), WIDTH - half)
        made.append(group(words((x, 45), text, anchor="middle")))
        free = x + half + 4
    return made


def _told_margin(margin: tuple[float | None, float | None]) -> str:
    sides = (("at or above", margin[0]), ("at or below", margin[1]))
    return " and ".join(f"{where} {limit:g}" for where, limit in sides if limit is not None)
