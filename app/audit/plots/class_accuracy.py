"""Accuracy of each class before and after, one row per class."""

from app.audit.curves import PerClass
from app.audit.plots.axes import Axis, told
from app.audit.plots.classes import Classes
from app.audit.plots.colours import LOOKS
from app.audit.plots.marks import GRID, legend, sign
from app.audit.plots.svg import TEXT, Node, group, line, node, picture, words

NAME, TITLE = "class-accuracy", "Accuracy of each class, before and after"
MOST, MOST_GONE = 30, 15
"""Rows, and among them rows of deleted classes; beyond, the classes that changed most are shown."""
ROW, TOP = 22, 58
PLOT, NUMBERS = 430, 170
"""Widths of the axis and of the column of numbers beside it."""


def draw(accuracy: PerClass, classes: Classes) -> str:
    """The plot as SVG."""
    shown = _shown(accuracy, classes)
    left = min(260.0, max(classes.width(index, TEXT) for index in shown) + 14)
    axis = Axis(low=0, high=1, start=left + 10, end=left + 10 + PLOT)
    bottom = TOP + ROW * len(shown)
    rest = _rest(accuracy, shown)
    width, height = axis.end + NUMBERS, bottom + (56 if rest else 34)
    rows = [_row(accuracy, classes, index, TOP + ROW * place, left, axis) for place, index in enumerate(shown)]
    return picture(
        NAME,
        TITLE,
        _description(accuracy, classes, shown, rest),
        (width, height),
        legend(accuracy.given(), (axis.start, 18), has_lines=False),
        words((axis.end + 16, TOP - 10), " → ".join(LOOKS[side].words for side in ("original", "unlearned"))),
        *(_guide(axis, value, bottom) for value in (0, 0.25, 0.5, 0.75, 1)),
        *rows,
        words((left, bottom + 42), rest) if rest else None,
    )


def _shown(accuracy: PerClass, classes: Classes) -> list[int]:
    changes = _changes(accuracy)
    if len(changes) <= MOST:
        return list(range(len(changes)))
    by_change = sorted(range(len(changes)), key=lambda index: -abs(changes[index] or 0.0))
    return classes.chosen(by_change, MOST, MOST_GONE)


def _changes(accuracy: PerClass) -> list[float | None]:
    before, after = accuracy.original, accuracy.unlearned
    if before is None or after is None:
        return [None] * len(before or after or accuracy.reference or [])
    return [None if None in {old, new} else (new or 0.0) - (old or 0.0) for old, new in zip(before, after, strict=True)]


def _rest(accuracy: PerClass, shown: list[int]) -> str:
    """What is said of the classes that are not shown."""
    changes = _changes(accuracy)
    others = [change for index, change in enumerate(changes) if index not in set(shown)]
    known = [change for change in others if change is not None]
    if not others:
        return ""
    told_of = f"between {min(known):+.3f} and {max(known):+.3f}" if known else "unknown"
    return f"Shown: {len(shown)} of {len(changes)} classes. Change of the other {len(others)}: {told_of}."


def _guide(axis: Axis, value: float, bottom: float) -> Node:
    x = axis.at(value)
    return group(
        line((x, TOP - 4), (x, bottom), stroke_opacity=GRID),
        words((x, bottom + 18), f"{value:g}", anchor="middle"),
    )


def _row(accuracy: PerClass, classes: Classes, index: int, top: float, left: float, axis: Axis) -> Node:
    middle = top + ROW / 2
    found = {side: values[index] for side, values in accuracy.given().items()}
    known = {side: value for side, value in found.items() if value is not None}
    pair = [axis.at(known[side]) for side in ("original", "unlearned") if side in known]
    shade = node("rect", x=0, y=top, width=axis.end + NUMBERS, height=ROW, fill="currentColor", fill_opacity=0.07)
    bar = line((pair[0], middle), (pair[1], middle), stroke_opacity=0.55, stroke_width=2) if len(pair) == 2 else None
    numbers = " → ".join(told(found.get(side)) for side in ("original", "unlearned"))
    name = words((left, middle + 4.5), classes.fitted(index, left - 4, TEXT), anchor="end", size=TEXT)
    name.set("font-weight", classes.weight(index) or "normal")
    return group(
        node("title", f"{classes.told(index)}: {_spoken(found)}"),
        shade if classes.mark(index) else None,
        name,
        bar,
        *(sign(side, (axis.at(value), middle)) for side, value in reversed(known.items())),
        words((axis.end + 16, middle + 4.5), numbers, size=TEXT),
    )


def _spoken(found: dict[str, float | None]) -> str:
    return ", ".join(f"{LOOKS[side].words} {told(value)}" for side, value in found.items())


def _description(accuracy: PerClass, classes: Classes, shown: list[int], rest: str) -> str:
    rows = [
        f"{classes.told(index)}: {_spoken({side: values[index] for side, values in accuracy.given().items()})}"
        for index in shown
    ]
    return f"Share of test images recognised. {'; '.join(rows)}. {rest}".rstrip()
