"""Axes keep the order of values, end where they should, and never leave the picture."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.plots.axes import Axis, lowest_decade, rounded_up, ticks, told

SIZES = st.floats(min_value=1e-6, max_value=1e6)
VALUES = st.floats(min_value=-2e6, max_value=2e6)


def axis_between(one: float, other: float, *, is_log: bool, falls: bool) -> Axis:
    low, high = sorted((one, other))
    start, end = (300.0, 20.0) if falls else (20.0, 300.0)
    return Axis(low=low, high=max(high, low * 1.01), start=start, end=end, is_log=is_log)


@given(one=SIZES, other=SIZES, values=st.lists(VALUES, min_size=2), is_log=st.booleans(), falls=st.booleans())
def test_places_are_monotone_and_inside(
    one: float, other: float, values: list[float], is_log: bool, falls: bool
) -> None:
    axis = axis_between(one, other, is_log=is_log, falls=falls)
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places, reverse=falls)
    assert all(20.0 - 1e-6 <= place <= 300.0 + 1e-6 for place in places)


@given(one=SIZES, other=SIZES, is_log=st.booleans(), falls=st.booleans())
def test_the_ends_are_the_ends(one: float, other: float, is_log: bool, falls: bool) -> None:
    axis = axis_between(one, other, is_log=is_log, falls=falls)
    assert axis.at(axis.low) == pytest.approx(axis.start)
    assert axis.at(axis.high) == pytest.approx(axis.end)


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis() -> None:
    axis = Axis(low=0.001, high=1, start=0, end=300, is_log=True)
    assert [axis.at(value) for value in axis.decades()] == pytest.approx([0, 100, 200, 300])
    assert axis.at(0) == 0


@pytest.mark.parametrize(
    ("low", "high", "is_log"), [(0, 1, True), (1, 1, False), (2, 1, False), (0, math.inf, False), (math.nan, 1, False)]
)
def test_an_axis_that_spans_nothing_is_refused(low: float, high: float, is_log: bool) -> None:
    with pytest.raises(ValueError, match="low < high"):
        Axis(low=low, high=high, start=0, end=1, is_log=is_log)


@given(SIZES)
def test_round_values_reach_and_do_not_overshoot(value: float) -> None:
    top = rounded_up(value)
    assert value * (1 - 1e-6) <= top <= value * 2.5 * (1 + 1e-6)
    marks = ticks(top)
    assert marks[0] == 0
    assert 2 <= len(marks) <= 6
    assert marks == sorted(marks)
    assert marks[-1] <= top * (1 + 1e-6)


def test_the_lowest_decade_is_at_or_below_what_is_shown() -> None:
    assert lowest_decade([0.0, 0.02, 0.5], at_least=1e-4) == 0.01
    assert lowest_decade([0.001], at_least=1e-4) == pytest.approx(0.001)
    assert lowest_decade([1e-9], at_least=1e-4) == 1e-4
    assert lowest_decade([0.0, 1.0], at_least=1e-4) == lowest_decade([], at_least=1e-4) == 0.1


def test_numbers_are_told_in_a_few_digits() -> None:
    assert [told(value) for value in (None, 0, 0.12345, 0.00012, 12.3456, -0.5)] == [
        *("n/a", "0.000", "0.123", "1e-04", "12.35", "-0.500")
    ]
