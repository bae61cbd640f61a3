"""The bar of one test shows the interval where it lies beside the margin."""

import re
from xml.etree.ElementTree import Element, fromstring

import pytest

from app.audit.plots import interval

Margin = tuple[float | None, float | None]


def drawn(value: float, ends: tuple[float, float], margin: Margin) -> Element:
    return fromstring(interval.draw("a_test", "A test", value=value, ends=ends, margin=margin))  # noqa: S314 ours


def spans(root: Element) -> tuple[tuple[float, float], tuple[float, float]]:
    """Places of the margin and of the interval."""
    (box,) = [part for part in root if part.tag.endswith("}rect")]
    (line,) = [part for part in root if part.get("stroke-width") == "3"]
    left = float(box.get("x", "0"))
    return (left, left + float(box.get("width", "0"))), (float(line.get("x1", "0")), float(line.get("x2", "0")))


@pytest.mark.parametrize(
    ("ends", "margin", "is_inside", "is_outside"),
    [
        ((0.01, 0.05), (None, 0.10), True, False),
        ((0.15, 0.20), (None, 0.10), False, True),
        ((0.05, 0.20), (None, 0.10), False, False),
        ((0.45, 0.55), (0.30, 0.70), True, False),
        ((0.10, 0.20), (0.30, 0.70), False, True),
        ((-0.02, 0.03), (-0.05, None), True, False),
        ((-0.20, -0.10), (-0.05, None), False, True),
        ((0.0, 0.0), (None, 0.10), True, False),
    ],
)
def test_the_picture_agrees_with_the_arithmetic(
    ends: tuple[float, float], margin: Margin, is_inside: bool, is_outside: bool
) -> None:
    (left, right), (low, high) = spans(drawn(sum(ends) / 2, ends, margin))
    assert (left <= low and high <= right) is is_inside
    assert (high < left or low > right) is is_outside
    assert all(0 <= place <= interval.WIDTH for place in (left, right, low, high))


def test_an_open_side_of_the_margin_goes_on_to_the_edge() -> None:
    (left, _), _ = spans(drawn(0.02, (0.01, 0.03), (None, 0.1)))
    assert left == interval.PAD
    (_, right), _ = spans(drawn(0.02, (0.01, 0.03), (-0.1, None)))
    assert right == interval.WIDTH - interval.PAD


def test_margins_are_told_in_numbers_that_do_not_overlap() -> None:
    root = drawn(0.5, (0.1, 0.9), (0.499, 0.501))
    labels = [part for part in root.iter() if part.tag.endswith("}text")]
    assert [part.text for part in labels] == ["0.499", "0.501"]
    places = [float(part.get("x", "0")) for part in labels]
    assert places[1] - places[0] > 30


def test_it_can_be_read_aloud() -> None:
    told = interval.draw("a_test", "A test", value=0.5, ends=(0.45, 0.55), margin=(0.3, 0.7))
    assert "Interval from 0.450 to 0.550; it must lie at or above 0.3 and at or below 0.7." in told
    assert re.findall(r'id="([^"]+)"', told) == ["interval-a_test-title", "interval-a_test-desc"]
