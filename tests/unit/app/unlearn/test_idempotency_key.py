"""Reading the `Idempotency-Key`."""

import pytest

from app.errors import MalformedHeader
from app.unlearn.idempotency import parse_key


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ('"abc"', "abc"),
        ("abc", "abc"),
        ('  "a b"\t', "a b"),
        (r'"a\"b\\c"', r"a\b\c".replace(r"a\b", 'a"b')),
        ("x" * 255, "x" * 255),
        ("'single'", "'single'"),
    ],
)
def test_quoted_and_bare_keys_are_read(field: str, key: str) -> None:
    assert parse_key(field) == key


@pytest.mark.parametrize("field", ["", '""', '"', '"a', 'a"', "a b", "x" * 256, r'"\a"', "ä", "a\tb", '"a";p=1'])
def test_anything_else_is_refused(field: str) -> None:
    with pytest.raises(MalformedHeader):
        parse_key(field)
