"""How much each layer's weights were changed."""

from collections.abc import Sequence

from app.audit.curves import Layer
from app.audit.plots.axes import Axis, rounded_up, ticks, told
from app.audit.plots.colours import BLUE
from app.audit.plots.marks import GRID
from app.audit.plots.svg import TEXT, Node, fitted, group, line, node, picture, width_of, words

NAME, TITLE = "layers", "Relative change of each layer"
MOST = 30
"""Rows; of more layers those that changed most are shown."""
ROW, TOP, PLOT = 22.0, 16.0, 460.0


def draw(layers: Sequence[Layer]) -> str:
    """The plot as SVG, layers in the order of the network."""
    shown = _shown(layers)
    largest = max((layer.relative_change or 0.0 for layer in layers), default=0.0)
    left = min(300.0, max(width_of(layer.layer, TEXT) for layer in shown) + 14)
    axis = Axis(low=0, high=rounded_up(largest) if largest > 0 else 1, start=left + 8, end=left + 8 + PLOT)
    bottom, rest = TOP + ROW * len(shown), _rest(layers, shown)
    return picture(
        NAME,
        TITLE,
        _description(shown, rest),
        (axis.end + 90, bottom + (56 if rest else 34)),
        *(_guide(axis, value, bottom) for value in ticks(axis.high)),
        *(_bar(layer, TOP + ROW * place, axis) for place, layer in enumerate(shown)),
        words((left, bottom + 42), rest) if rest else None,
    )


def _shown(layers: Sequence[Layer]) -> list[Layer]:
    by_size = sorted(range(len(layers)), key=lambda place: -_size(layers[place]))
    return [layers[place] for place in sorted(by_size[:MOST])]


def _size(layer: Layer) -> float:
    return float("inf") if layer.relative_change is None else layer.relative_change


def _rest(layers: Sequence[Layer], shown: Sequence[Layer]) -> str:
    others = len(layers) - len(shown)
    least = min(map(_size, shown))
    return (
        f"Shown: {len(shown)} of {len(layers)} layers. The other {others} changed by {told(least)} at most."
        if others
        else ""
    )


def _guide(axis: Axis, value: float, bottom: float) -> Node:
    x = axis.at(value)
    return group(
        line((x, TOP - 4), (x, bottom), stroke_opacity=GRID),
        words((x, bottom + 18), f"{value:g}", anchor="middle"),
    )


def _bar(layer: Layer, top: float, axis: Axis) -> Node:
    size, middle = layer.relative_change, top + ROW / 2 + 4.5
    end = axis.at(size or 0.0)
    number = "was zero" if size is None else "unchanged" if size == 0 else told(size)
    return group(
        node("title", f"{layer.layer}: {number}"),
        words((axis.start - 8, middle), fitted(layer.layer, axis.start - 12, TEXT), anchor="end", size=TEXT),
        node("rect", x=axis.start, y=top + 4, width=max(1.0, end - axis.start), height=ROW - 8, fill=BLUE)
        if size
        else None,
        words((end + 6, middle), number),
    )


def _description(shown: Sequence[Layer], rest: str) -> str:
    rows = [f"{layer.layer}: {told(layer.relative_change)}" for layer in shown]
    return f"Size of the change of the weights, as a share of their size before. {'; '.join(rows)}. {rest}".rstrip()
