"""Whatever goes in, well-formed XML comes out, and nothing that acts."""

from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.plots.svg import SMALL, clean, fitted, node, picture, width_of, words
from tests.unit.app.reports.examples import HOSTILE

NAMESPACE = "{http://www.w3.org/2000/svg}"


@given(st.text())
def test_any_text_survives_as_text(text: str) -> None:
    root = fromstring(picture("a", text, text, (10, 10), words((1, 2), text)))  # noqa: S314 our own output
    expected = clean(text).replace("\r\n", "\n").replace("\r", "\n")
    assert [part.tag for part in root] == [NAMESPACE + tag for tag in ("title", "desc", "text")]
    assert [part.text or "" for part in root] == [expected] * 3


def test_markup_in_a_name_is_no_markup() -> None:
    svg = picture("a", HOSTILE, HOSTILE, (10, 10), node("rect", id=HOSTILE), words((0, 0), HOSTILE))
    assert "<script" not in svg
    assert svg.count("&lt;script&gt;") == 4
    assert "\x00" not in svg


def test_a_picture_has_a_name_a_description_and_a_role() -> None:
    root = fromstring(picture("my-plot", "Title", "What is seen", (20.4, 10), words((0, 0), "x")))  # noqa: S314 ours
    assert root.get("role") == "img"
    assert [root.find(f".//*[@id='{one}']") is not None for one in str(root.get("aria-labelledby")).split()] == [
        True
    ] * 2
    assert (root.get("viewBox"), root.get("width"), root.get("height")) == ("0 0 20 10", "20", "10")


@pytest.mark.parametrize("name", ["", "A", "a b", 'a"', "1"])
def test_a_name_that_is_no_id_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Expected a name"):
        picture(name, "t", "d", (1, 1))


@given(st.text(min_size=1), st.floats(min_value=20, max_value=400))
def test_a_fitted_text_fits(text: str, width: float) -> None:
    short = fitted(text, width)
    assert width_of(short) <= width + 0.02
    assert short == text or "…" in short


def test_a_shortened_name_keeps_both_ends() -> None:
    short = fitted("a very long name that ends in number 17", 120)
    assert short.startswith("a very")
    assert short.endswith("17")
    assert width_of("漢字") > width_of("ab")
    assert width_of("ab", 2 * SMALL) == pytest.approx(2 * width_of("ab"))
