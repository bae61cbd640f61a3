"""The membership attack on logarithmic axes: what an attacker finds who may hardly ever accuse wrongly."""

from app.audit.curves import Roc
from app.audit.plots.axes import Axis, lowest_decade, told
from app.audit.plots.colours import BLUE
from app.audit.plots.marks import GRID
from app.audit.plots.svg import Node, Point, group, line, node, path, picture, words

NAME, TITLE = "membership-roc", "Membership attack on the deleted classes, after"
LOWEST = 1e-4
LEFT, TOP, SIDE = 76.0, 44.0, 340.0


def draw(roc: Roc) -> str:
    """The plot as SVG."""
    low = lowest_decade([*roc.fpr, *roc.tpr], at_least=LOWEST)
    across = Axis(low=low, high=1, start=LEFT, end=LEFT + SIDE, is_log=True)
    upwards = Axis(low=low, high=1, start=TOP + SIDE, end=TOP, is_log=True)
    # The axis has no zero: what lies left of it begins at its edge, at the height it has reached there.
    first = max((place for place, rate in enumerate(roc.fpr) if rate <= low), default=0)
    curve = list(zip(map(across.at, roc.fpr[first:]), map(upwards.at, roc.tpr[first:]), strict=True))
    return picture(
        NAME,
        TITLE,
        _description(roc),
        (LEFT + SIDE + 24, TOP + SIDE + 52),
        _legend(roc),
        *(_guides(across, upwards, decade) for decade in across.decades()),
        _band(roc, across, upwards, first),
        line((LEFT, TOP + SIDE), (LEFT + SIDE, TOP), stroke_dasharray="6 5", stroke_width=1.5),
        path(curve, fill="none", stroke=BLUE, stroke_width=2.5, stroke_linejoin="round"),
        words((LEFT + SIDE / 2, TOP + SIDE + 40), "false alarms: unseen images called seen", anchor="middle"),
        _upright((22, TOP + SIDE / 2), "hits: training images called seen"),
    )


def _band(roc: Roc, across: Axis, upwards: Axis, first: int) -> Node | None:
    if roc.low is None or roc.high is None:
        return None
    xs = [across.at(rate) for rate in roc.fpr[first:]]
    upper = list(zip(xs, map(upwards.at, roc.high[first:]), strict=True))
    lower = list(zip(xs, map(upwards.at, roc.low[first:]), strict=True))
    return path([*upper, *reversed(lower)], is_closed=True, fill=BLUE, fill_opacity=0.22)


def _guides(across: Axis, upwards: Axis, decade: float) -> Node:
    x, y = across.at(decade), upwards.at(decade)
    return group(
        line((x, TOP), (x, TOP + SIDE), stroke_opacity=GRID),
        line((LEFT, y), (LEFT + SIDE, y), stroke_opacity=GRID),
        words((x, TOP + SIDE + 18), f"{decade:g}", anchor="middle"),
        words((LEFT - 8, y + 4), f"{decade:g}", anchor="end"),
    )


def _upright(at: Point, content: str) -> Node:
    return words(at, content, anchor="middle", transform=f"rotate(-90 {at[0]:g} {at[1]:g})")


def _legend(roc: Roc) -> Node:
    band = roc.low is not None and roc.high is not None
    return group(
        node("rect", x=LEFT, y=8, width=28, height=14, fill=BLUE, fill_opacity=0.22) if band else None,
        line((LEFT, 15), (LEFT + 28, 15), stroke=BLUE, stroke_width=2.5),
        words((LEFT + 36, 19), "attack, with 95 % interval" if band else "attack"),
        line((LEFT + 222, 15), (LEFT + 250, 15), stroke_dasharray="6 5", stroke_width=1.5),
        words((LEFT + 258, 19), "chance"),
    )


def _description(roc: Roc) -> str:
    sizes = []
    for rate in (0.001, 0.01, 0.1):
        place = max((place for place, fpr in enumerate(roc.fpr) if fpr <= rate), default=0)
        limits = f" ({told(roc.low[place])} to {told(roc.high[place])})" if roc.low and roc.high else ""
        sizes.append(f"{told(roc.tpr[place])}{limits} hits at {100 * rate:g} % false alarms")
    return f"Both axes are logarithmic; on the dashed line the attack does no better than chance. {'; '.join(sizes)}."
