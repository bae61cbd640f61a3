"""HTML only for those who would rather have it."""

import pytest

from app.audit.negotiation import prefers_html


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/html", True),
        ("TEXT/HTML", True),
        ("text/*;q=0.5, application/json;q=0.4", True),
        ("text/html, application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
        ("text/html;q=0.9, */*;q=0.8", True),
        ("application/json, text/html;q=0.9", False),
    ],
)
def test_the_higher_weight_wins_and_a_tie_is_json(accept: str | None, expected: bool) -> None:
    assert prefers_html(accept) is expected
