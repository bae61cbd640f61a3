"""The format of keys."""

import zlib

from app.keys.service import _KEY, BASE62, CHECKSUM_LENGTH, SECRET_LENGTH, _random, _with_checksum


def test_a_secret_has_at_least_256_bits() -> None:
    assert len(BASE62) == len(set(BASE62)) == 62
    assert 62**SECRET_LENGTH >= 2**256


def test_the_checksum_is_the_crc32_in_base62() -> None:
    text = f"exp_live_{_random(8)}_{_random(SECRET_LENGTH)}"
    key = _with_checksum(text)
    number = 0
    for digit in key[-CHECKSUM_LENGTH:]:
        number = number * 62 + BASE62.index(digit)
    assert number == zlib.crc32(text.encode())
    assert _KEY.fullmatch(key)
