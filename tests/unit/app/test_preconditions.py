"""Entity tags in lists, weak and strong (the table of RFC 9110 section 8.8.3.2)."""

import pytest

from app.preconditions import Preconditions, etag, matches_strongly, matches_weakly
from core.errors import PreconditionFailed, PreconditionRequired


@pytest.mark.parametrize(
    ("field", "current", "strongly", "weakly"),
    [
        ('"1"', '"1"', True, True),
        ('W/"1"', '"1"', False, True),
        ('"2"', '"1"', False, False),
        ('"2", "1"', '"1"', True, True),
        ('"2" ,W/"1"', '"1"', False, True),
        ('"a,b", "1"', '"1"', True, True),
        ("*", '"1"', True, True),
        ("*", None, False, False),
        ('"1"', None, False, False),
        ("1", '"1"', False, False),
        ('"1" "2"', '"1"', False, False),
        ('"1", x', '"1"', False, False),
        ("", '"1"', False, False),
        ('w/"1"', '"1"', False, False),
    ],
)
def test_field_matches_as_the_rfc_says(field: str, current: str | None, strongly: bool, weakly: bool) -> None:
    assert matches_strongly(field, current) is strongly
    assert matches_weakly(field, current) is weakly


def test_change_needs_a_precondition() -> None:
    with pytest.raises(PreconditionRequired):
        Preconditions(None, None).check_change(etag(1))


@pytest.mark.parametrize(
    ("conditions", "current"),
    [
        (Preconditions('"1"', None), etag(2)),
        (Preconditions('"1"', None), None),
        (Preconditions(None, "*"), etag(1)),
        (Preconditions('"1"', "*"), etag(1)),
    ],
)
def test_precondition_that_does_not_hold_is_refused(conditions: Preconditions, current: str | None) -> None:
    with pytest.raises(PreconditionFailed):
        conditions.check_change(current)


@pytest.mark.parametrize(
    ("conditions", "current"),
    [(Preconditions('"1"', None), etag(1)), (Preconditions("*", None), etag(1)), (Preconditions(None, "*"), None)],
)
def test_precondition_that_holds_lets_the_change_pass(conditions: Preconditions, current: str | None) -> None:
    conditions.check_change(current)
