"""Which form a caller gets."""

import pytest

from app.reports.kinds import Kind, kind_for


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("text/html", "html"),
        ("TEXT/HTML", "html"),
        ("text/*;q=0.5, application/json;q=0.4", "html"),
        ("text/html, application/json", "json"),
        ("text/html;q=0", "json"),
        ("text/html;q=nonsense", "json"),
        ("text/html;q=0.9, */*;q=0.8", "html"),
        ("application/json, text/html;q=0.9", "json"),
        ("application/pdf", "pdf"),
        ("application/pdf;q=0.9, text/html;q=0.8, */*;q=0.1", "pdf"),
        ("text/csv", "csv"),
        ("text/csv;header=present, application/json;q=0.5", "csv"),
        ("image/png", "json"),
    ],
)
def test_the_highest_weight_wins_and_a_tie_is_json(accept: str | None, expected: str) -> None:
    assert kind_for(accept) is Kind(expected)
