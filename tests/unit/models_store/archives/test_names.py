"""A member name that reaches us is relative, plain and spelt one way."""

import pytest

from models_store.archives.names import checked_name
from models_store.errors import UnsafeArchive


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"cat/1.png", "cat/1.png"),
        (b"./train//cat/1.png", "train/cat/1.png"),
        (b"cat/", "cat"),
        (b"./", ""),
        ("Kätzchen/ü.png".encode(), "Kätzchen/ü.png"),
        (b"a..b/...c", "a..b/...c"),
    ],
)
def test_a_plain_name_is_brought_to_one_spelling(raw: bytes, name: str) -> None:
    assert checked_name(raw) == name


@pytest.mark.parametrize(
    "raw",
    [
        b"/etc/passwd",
        b"//host/share",
        b"../x",
        b"a/../../x",
        b"a/..",
        b"..",
        b"..\\x",
        b"a\\b",
        b"C:/x",
        b"c:x",
        b"a\0b",
        b"a\nb",
        b"a\x7fb",
        b"\xff\xfe",
        b"\xc0\xae\xc0\xae/x",
        b"a/" * 17 + b"x",
        b"x" * 1025,
    ],
)
def test_any_other_name_is_refused(raw: bytes) -> None:
    with pytest.raises(UnsafeArchive, match=r"Expected .*, got"):
        checked_name(raw)
