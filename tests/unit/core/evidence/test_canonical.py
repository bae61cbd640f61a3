"""The one spelling of a JSON value, compared with the package that the service writes with."""

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from core.evidence.canonical import canonical_bytes

TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_it_is_the_spelling_of_the_package(value: Any) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


def test_names_are_ordered_by_their_utf_16_units() -> None:
    """RFC 8785 section 3.2.3: by code points the emoji would come last."""
    assert canonical_bytes({"\ufb33": 1, "\U0001f600": 2, "\r": 3}) == '{"\\r":3,"\U0001f600":2,"\ufb33":1}'.encode()


@pytest.mark.parametrize("value", [0.5, [1.0], {"a": 2**53}, -(2**53), "\ud800"])
def test_what_has_no_spelling_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected integers|surrogates"):
        canonical_bytes(value)
