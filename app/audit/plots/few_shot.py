"""How much of the deleted classes a few of their images bring back."""

from app.audit.curves import FewShot
from app.audit.plots.axes import Axis, told
from app.audit.plots.colours import LOOKS
from app.audit.plots.marks import GRID, legend, sign
from app.audit.plots.svg import Node, group, line, path, picture, words

NAME, TITLE = "few-shot", "What a few images of the deleted classes bring back"
LEFT, TOP, WIDTH, HEIGHT, ROW = 176.0, 44.0, 420.0, 230.0, 20.0


def draw(few_shot: FewShot) -> str:
    """The plot as SVG, the numbers below the axis."""
    sides = few_shot.given()
    shots = sorted({number for values in sides.values() for number in values})
    across = _across(shots)
    upwards = Axis(low=0, high=1, start=TOP + HEIGHT, end=TOP)
    bottom = TOP + HEIGHT
    table = [
        _numbers(side, values, shots, across, bottom + 66 + ROW * row)
        for row, (side, values) in enumerate(sides.items())
    ]
    return picture(
        NAME,
        TITLE,
        _description(sides, shots),
        (LEFT + WIDTH + 40, bottom + 56 + ROW * len(sides) + 10),
        legend(sides, (LEFT, 20), has_lines=True),
        *(_level(upwards, value) for value in (0, 0.25, 0.5, 0.75, 1)),
        *(line((across.at(number), TOP), (across.at(number), bottom), stroke_opacity=GRID) for number in shots),
        *(words((across.at(number), bottom + 20), str(number), anchor="middle") for number in shots),
        words((LEFT - 14, bottom + 20), "images per class", anchor="end"),
        line((14, bottom + 36), (LEFT + WIDTH + 30, bottom + 36), stroke_opacity=GRID),
        # The dashed lines last: on a solid one that is equal they still show.
        *(_curve(side, sides[side], across, upwards) for side in sorted(sides, key=lambda side: side != "unlearned")),
        *table,
    )


def _across(shots: list[int]) -> Axis:
    low, high = (shots[0], shots[-1]) if len(shots) > 1 else (shots[0] / 2, shots[0] * 2)
    return Axis(low=low, high=high, start=LEFT + 20, end=LEFT + WIDTH, is_log=True)


def _level(upwards: Axis, value: float) -> Node:
    y = upwards.at(value)
    return group(
        line((LEFT, y), (LEFT + WIDTH + 20, y), stroke_opacity=GRID),
        words((LEFT - 8, y + 4), f"{value:g}", anchor="end"),
    )


def _curve(side: str, values: dict[int, float | None], across: Axis, upwards: Axis) -> Node:
    look = LOOKS[side]
    known = [(across.at(number), upwards.at(value)) for number, value in sorted(values.items()) if value is not None]
    drawn = path(known, fill="none", stroke=look.colour, stroke_width=2, stroke_dasharray=look.dash)
    return group(drawn if len(known) > 1 else None, *(sign(side, point) for point in known))


def _numbers(side: str, values: dict[int, float | None], shots: list[int], across: Axis, y: float) -> Node:
    return group(
        words((LEFT - 14, y - 10), LOOKS[side].words, anchor="end"),
        sign(side, (22, y - 14)),
        *(words((across.at(number), y - 10), told(values.get(number)), anchor="middle") for number in shots),
    )


def _description(sides: dict[str, dict[int, float | None]], shots: list[int]) -> str:
    rows = [
        f"{LOOKS[side].words}: " + ", ".join(f"{told(values.get(number))} with {number}" for number in shots)
        for side, values in sides.items()
    ]
    return f"Share of the deleted classes' test images recognised by class centres of a few images. {'; '.join(rows)}."
