"""Canonical bytes, commitments, and what may not stand in an entry."""

import hmac
from hashlib import sha256

import pytest

from core.ledger.entries import canonical, commitment, decimal


def test_canonical_bytes_sort_members_and_drop_spaces() -> None:
    assert canonical({"b": 1, "a": {"z": None, "y": "ü"}}) == '{"a":{"y":"ü","z":null},"b":1}'.encode()


@pytest.mark.parametrize("value", [{"x": 0.5}, {"x": [1, {"y": float("nan")}]}, 1.0])
def test_a_float_is_refused_wherever_it_hides(value: object) -> None:
    with pytest.raises(ValueError, match="Expected integers or decimal strings"):
        canonical(value)


def test_decimal_spells_a_measure_the_same_way_always() -> None:
    assert [decimal(0.1), decimal(1), decimal(2 / 3)] == ["0.100000", "1.000000", "0.666667"]


def test_commitment_is_the_documented_hmac() -> None:
    key = bytes(range(32))
    expected = hmac.new(key, b"class\x00Ada Lovelace", sha256).hexdigest()
    assert commitment(key, "class", "Ada Lovelace") == f"hmac-sha256:{expected}"


def test_commitments_to_one_value_under_two_keys_cannot_be_linked() -> None:
    assert commitment(bytes(32), "class", "Ada") != commitment(bytes([1]) * 32, "class", "Ada")


def test_the_kind_of_value_separates_commitments() -> None:
    assert commitment(bytes(32), "class", "7") != commitment(bytes(32), "subject", "7")
