"""The lineage of a model as a picture: one row for each version, each joined to what it was made from."""

from collections.abc import Sequence

from app.audit.plots.classes import BOLDER
from app.audit.plots.colours import BLUE, VERMILION
from app.audit.plots.svg import TEXT, Node, group, node, path, picture, width_of, words
from app.reports.schemas import LineageVersion

NAME, TITLE = "lineage", "The model's versions, and what each still holds"
ROW, LEFT, STEP, RADIUS = 30.0, 22.0, 26.0, 7.0
MOST, DEEPEST = 30, 8
"""Rows; of more versions the newest are shown. Steps to the right."""


def draw(versions: Sequence[LineageVersion], *, base: int | None = None, new: int | None = None) -> str:
    """The picture as SVG: a ring holds a class that was to go, a disc holds none.

    Args:
        versions: by number, at least one.
        base: number of the version that a request was about.
        new: number of the one that it made.
    """
    shown = list(versions)[-MOST:]
    places = {one.number: (LEFT + STEP * _depth(one, shown), 20 + ROW * row) for row, one in enumerate(shown)}
    text_at = max(x for x, _ in places.values()) + 26
    rest = len(versions) - len(shown)
    return picture(
        NAME,
        TITLE,
        _description(shown, base, new, rest),
        (
            text_at + max(BOLDER * width_of(_told(one, base, new), TEXT) for one in shown),
            20 + ROW * len(shown) + (24 if rest else 0),
        ),
        *(_edge(places[one.parent], places[one.number]) for one in shown if one.parent in places),
        *(_row(one, places[one.number], text_at, base, new) for one in shown),
        words((LEFT, 24 + ROW * len(shown)), f"{rest} older versions are not drawn.") if rest else None,
    )


def _depth(version: LineageVersion, shown: Sequence[LineageVersion]) -> int:
    parents = {one.number: one.parent for one in shown}
    depth, here = 0, version.parent
    while here in parents and depth < DEEPEST:
        depth, here = depth + 1, parents[here]
    return depth


def _edge(start: tuple[float, float], end: tuple[float, float]) -> Node:
    return path(
        [(start[0], start[1] + RADIUS), (start[0], end[1]), (end[0] - RADIUS, end[1])],
        fill="none",
        stroke="currentColor",
        stroke_opacity=0.5,
        stroke_width=1.5,
    )


def _row(one: LineageVersion, at: tuple[float, float], text_at: float, base: int | None, new: int | None) -> Node:
    look = {"fill": "none", "stroke": VERMILION} if one.still_holds else {"fill": BLUE, "stroke": BLUE}
    told = _told(one, base, new)
    name = words((text_at, at[1] + 4.5), told, size=TEXT)
    if one.number in {base, new}:
        name.set("font-weight", "bold")
    return group(
        node("title", told),
        node("circle", cx=at[0], cy=at[1], r=RADIUS, stroke_width=2.5, **look),
        name,
    )


def _told(one: LineageVersion, base: int | None, new: int | None) -> str:
    made = "uploaded" if one.parent is None else f"made from {one.parent}"
    holds = f"holds {len(one.still_holds)} of the deleted classes" if one.still_holds else "holds no deleted class"
    mark = " (deleted from)" if one.number == base else " (made by this request)" if one.number == new else ""
    return f"version {one.number}{mark}: {one.state}, {made}, {holds}"


def _description(shown: Sequence[LineageVersion], base: int | None, new: int | None, rest: int) -> str:
    older = f" {rest} older versions are not drawn." if rest else ""
    return "; ".join(_told(one, base, new) for one in shown) + "." + older
