"""Which range a header asks for."""

import pytest
from starlette.exceptions import HTTPException

from app.models.download import ByteRange, requested_range


@pytest.mark.parametrize(
    ("field", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-", 100, 999),
        ("bytes=-7", 993, 999),
        ("bytes=-999999", 0, 999),
        ("bytes=5-999999", 5, 999),
        ("bytes=999-", 999, 999),
        ("BYTES= 1-2 ", 1, 2),
    ],
)
def test_one_range_is_that_part(field: str, first: int, last: int) -> None:
    assert requested_range(field, 1_000) == ByteRange(first, last)


@pytest.mark.parametrize(
    "field",
    [None, "", "bytes=0-1,3-4", "lines=0-1", "bytes=-", "bytes=5-2", "bytes=a-b", "0-1", "bytes=1-2x", "bytes=--1"],
)
def test_what_is_not_one_range_of_bytes_asks_for_the_whole(field: str | None) -> None:
    assert requested_range(field, 1_000) is None


def test_more_digits_than_any_file_has_bytes_are_passed_over() -> None:
    assert requested_range(f"bytes=0-{'9' * 5_000}", 1_000) is None


@pytest.mark.parametrize("field", ["bytes=-0", "bytes=1000-", "bytes=1000-1001"])
def test_range_outside_the_file_is_refused_with_its_size(field: str) -> None:
    with pytest.raises(HTTPException) as refused:
        requested_range(field, 1_000)
    assert refused.value.status_code == 416
    assert refused.value.headers == {"Content-Range": "bytes */1000"}


def test_every_range_of_a_small_file_is_what_slicing_gives() -> None:
    content = bytes(range(10))
    for first in range(10):
        for last in range(first, 12):
            part = requested_range(f"bytes={first}-{last}", len(content))
            assert part is not None
            assert content[part.first : part.last + 1] == content[first : last + 1]
            assert part.num_bytes == len(content[first : last + 1])
