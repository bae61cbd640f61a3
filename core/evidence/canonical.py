"""Canonical JSON (RFC 8785) without fractions, which is all that the ledger hashes."""

import json
from typing import Any


def canonical_bytes(value: Any) -> bytes:
    """The one spelling of a JSON value.

    Raises:
        ValueError: it holds a float, or an integer of 2^53 or more, or text without UTF-8.
    """
    return _spelled(value).encode()


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        # Names are ordered by their UTF-16 code units (RFC 8785 section 3.2.3).
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_spelled(name)}:{_spelled(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spelled, value)) + "]"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) >= 2**53):
        msg = f"Expected integers below 2^53 and text, got {value!r}."
        raise ValueError(msg)
    return json.dumps(value, ensure_ascii=False)
