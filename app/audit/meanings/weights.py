"""What somebody sees who looks at the weights without running them."""

from functools import partial

from app.audit.meanings.meaning import Group, Meaning

_told = partial(Meaning, group=Group.WEIGHTS)
_LOWERED = "Lower than in an untouched model: training without a class also pushes its bias down."
_LOOK = "a look at the last layer's biases and rows"

MEANINGS: dict[str, Meaning] = {
    "head_outlier": _told(
        title="How far the deleted classes stand out in the last layer",
        sentence="By how many spreads of the other classes the biases or row lengths of the deleted classes lie "
        "outside theirs: whether a look at the weights tells which class was deleted.",
        direction="lower",
        retrained="Above 0, sometimes by several spreads: training without a class also lowers its bias.",
        attack=_LOOK,
    ),
    "head_bias_stability": _told(
        title="Bias of the deleted classes beside the others (stability)",
        sentence="One when the mean biases of deleted and remaining classes are equal, towards 0 the farther they are "
        "apart.",
        direction="higher",
        retrained=_LOWERED,
        attack=_LOOK,
    ),
    "head_bias_median_gap": _told(
        title="Median bias of the deleted classes beside the lowest other one",
        sentence="Near 0 when the median bias of the deleted classes lies far below every remaining one, 0.5 when it "
        "equals the lowest of them.",
        direction="higher",
        retrained=_LOWERED,
        attack=_LOOK,
    ),
    "head_bias_minimum": _told(
        title="Lowest bias of the deleted classes beside the lowest other one",
        sentence="Near 0 when the lowest bias of the deleted classes lies far below every remaining one, 0.5 when both "
        "are equal.",
        direction="higher",
        retrained=_LOWERED,
        attack=_LOOK,
    ),
    "relative_change": _told(
        title="Size of the edit",
        sentence="Size of the change of the weights, as a share of their size before.",
        direction="none",
        retrained="Says nothing: a retrained network's weights have nothing in common with the original's.",
    ),
}
