"""Who is taken for whom, before and after: two heat maps, each row the test images of one true class."""

from collections import Counter
from dataclasses import dataclass

from app.audit.curves import Confusion
from app.audit.plots.classes import BOLDER, Classes
from app.audit.plots.colours import LOOKS, VERMILION, heat, ink_on
from app.audit.plots.svg import SMALL, TEXT, Node, fitted, group, node, picture, width_of, words

NAME, TITLE = "confusion", "Who is taken for whom, before and after"
MOST, MOST_GONE = 16, 10
"""Classes shown, and among them deleted ones; beyond, those that matter most are shown and the others added up."""
OTHERS = -1
PANEL, SMALLEST, LARGEST, WITH_NUMBERS = 350.0, 18.0, 46.0, 29.0
"""Pixels: width of a heat map, sides of a cell, and the side from which it holds its number."""
GAP = 34.0


@dataclass(frozen=True)
class _Layout:
    rows: list[int]
    columns: list[int]
    cell: float
    left: float
    top: float

    @classmethod
    def of(cls, shown: list[int], num_classes: int, classes: Classes) -> "_Layout":
        columns = shown if len(shown) == num_classes else [*shown, OTHERS]
        widest = max(classes.width(index, TEXT) for index in shown)
        return cls(
            rows=shown,
            columns=columns,
            cell=min(LARGEST, max(SMALLEST, PANEL / len(columns))),
            left=min(215.0, widest) + 12,
            top=min(150.0, BOLDER * max(width_of(_name(index, classes), SMALL) for index in columns)) + 62,
        )

    def panel(self, place: int) -> float:
        return self.left + place * (self.cell * len(self.columns) + GAP)

    @property
    def bottom(self) -> float:
        return self.top + self.cell * len(self.rows)


def draw(confusion: Confusion, classes: Classes) -> str:
    """The plot as SVG."""
    sides = {side: matrix for side, matrix in confusion.given().items() if side != "reference"}
    num_classes = len(next(iter(confusion.given().values())))
    shown = _shown(list(sides.values()), num_classes, classes)
    layout = _Layout.of(shown, num_classes, classes)
    width = max(layout.panel(len(sides)) - GAP + 8, layout.left + 330)
    rest = f"Shown: {len(shown)} of {num_classes} classes, the deleted ones and those most confused."
    return picture(
        NAME,
        TITLE,
        _description(sides, classes, shown),
        (width, layout.bottom + (78 if len(shown) < num_classes else 56)),
        *(_row_name(layout, place, index, classes) for place, index in enumerate(layout.rows)),
        *(_panel(layout, place, side, sides[side], classes) for place, side in enumerate(sides)),
        _ramp(layout),
        words((layout.left, layout.bottom + 66), rest) if len(shown) < num_classes else None,
    )


def _shown(matrices: list[list[list[int]]], num_classes: int, classes: Classes) -> list[int]:
    """Deleted classes, those their images are taken for, then those that are mistaken most, newest matrix first."""
    if num_classes <= MOST:
        return list(range(num_classes))
    given, mistaken = Counter[int](), Counter[int]()
    for matrix in matrices:
        for truth, row in enumerate(matrix):
            for guess, count in enumerate(row):
                (given if truth in classes.gone else mistaken)[guess] += count * (truth != guess)
                mistaken[truth] += count * (truth != guess)
    ordered = [*sorted(classes.gone), *(one for one, count in given.most_common(MOST // 2) if count)]
    ordered += [index for index, _ in mistaken.most_common()]
    return classes.chosen([one for one in ordered if one < num_classes], MOST, MOST_GONE)


def _panel(layout: _Layout, place: int, side: str, matrix: list[list[int]], classes: Classes) -> Node:
    left, size = layout.panel(place), layout.cell * len(layout.columns)
    cells = [
        _cell(layout, left, (row, column), matrix, classes)
        for row in range(len(layout.rows))
        for column in range(len(layout.columns))
    ]
    frames = [
        node(
            "rect",
            x=left,
            y=layout.top + row * layout.cell,
            width=size,
            height=layout.cell,
            fill="none",
            stroke=VERMILION,
            stroke_width=2,
        )
        for row, index in enumerate(layout.rows)
        if classes.mark(index)
    ]
    names = [_column_name(layout, left, column, index, classes) for column, index in enumerate(layout.columns)]
    heading = words((left, 18), LOOKS[side].words, size=TEXT, font_weight="bold")
    return group(heading, words((left, 36), "predicted class →"), *names, *cells, *frames)


def _cell(layout: _Layout, left: float, at: tuple[int, int], matrix: list[list[int]], classes: Classes) -> Node:
    truth, guess = layout.rows[at[0]], layout.columns[at[1]]
    total, count = sum(matrix[truth]), _count(matrix[truth], guess, layout.rows)
    x, y = left + at[1] * layout.cell, layout.top + at[0] * layout.cell
    share = count / total if total else None
    number = _number(share) if layout.cell >= WITH_NUMBERS else ""
    ink = "currentColor" if share is None else ink_on(share)
    middle = (x + layout.cell / 2, y + layout.cell / 2 + 4)
    box = node(
        "rect",
        node("title", f"{classes.told(truth)} taken for {_name(guess, classes)}: {count} of {total}"),
        x=x + 0.5,
        y=y + 0.5,
        width=layout.cell - 1,
        height=layout.cell - 1,
        fill="none" if share is None else heat(share),
        stroke="currentColor" if share is None else None,
        stroke_opacity=0.3 if share is None else None,
    )
    return group(box, words(middle, number, anchor="middle", fill=ink) if number else None)


def _count(row: list[int], guess: int, shown: list[int]) -> int:
    return row[guess] if guess != OTHERS else sum(row) - sum(row[index] for index in shown)


def _number(share: float | None) -> str:
    if not share:
        return ""
    return "<1" if share < 0.005 else f"{100 * share:.0f}"


def _name(index: int, classes: Classes) -> str:
    return "all others" if index == OTHERS else classes.name(index)


def _row_name(layout: _Layout, place: int, index: int, classes: Classes) -> Node:
    at = (layout.left - 8, layout.top + (place + 0.5) * layout.cell + 4.5)
    name = classes.fitted(index, layout.left - 12, TEXT)
    return words(at, name, anchor="end", size=TEXT, font_weight=classes.weight(index))


def _column_name(layout: _Layout, left: float, place: int, index: int, classes: Classes) -> Node:
    x, y = left + (place + 0.5) * layout.cell + 4, layout.top - 6
    name = fitted(_name(index, classes), (layout.top - 62) / (BOLDER if index in classes.gone else 1), SMALL)
    turned = f"rotate(-90 {x:.1f} {y:.1f})"
    return words((x, y), name, font_weight=classes.weight(index), transform=turned)


def _ramp(layout: _Layout) -> Node:
    """What the colours mean."""
    y, parts = layout.bottom + 22, []
    for place, share in enumerate((0.0, 0.05, 0.25, 0.5, 1.0)):
        x = layout.left + 44 * place
        parts.append(node("rect", x=x, y=y, width=44, height=18, fill=heat(share)))
        parts.append(words((x + 22, y + 13), f"{100 * share:g} %", anchor="middle", fill=ink_on(share)))
    return group(*parts, words((layout.left + 232, y + 13), "of the true class"))


def _description(sides: dict[str, list[list[int]]], classes: Classes, shown: list[int]) -> str:
    told = []
    for index in (one for one in shown if classes.mark(one)):
        for side, matrix in sides.items():
            row, total = Counter(dict(enumerate(matrix[index]))), sum(matrix[index])
            most = [f"{classes.name(guess)} {count / total:.2f}" for guess, count in row.most_common(3) if count]
            told.append(f"{classes.told(index)}, {LOOKS[side].words}: {', '.join(most) or 'no images'}")
    about = "Share of each true class's test images by predicted class."
    return f"{about} {'; '.join(told)}." if told else about
