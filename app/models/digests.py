"""Digest fields of RFC 9530: reading the ones sent with an upload, writing the one of a download.

Rules: SHA-256 and SHA-512 are understood, every one of them that is sent must match, and other algorithms are passed
over only beside one that we can check. A field that cannot be read is refused: it was sent to be honoured.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import cast

import http_sf
from http_sf import StructuredFieldError

from core.errors import BadDigest

FIELDS = ("repr-digest", "content-digest")
"""Both mean the bytes of the body here: an upload has no content coding."""
DIGEST_BYTES = {"sha-256": 32, "sha-512": 64}


def repr_digest(sha256_hex: str) -> str:
    """The value of `Repr-Digest` for bytes with this SHA-256."""
    return http_sf.ser({"sha-256": (bytes.fromhex(sha256_hex), {})})


def announced_digests(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """The digests sent with a request, as (algorithm, digest); empty when none was sent.

    Args:
        headers: the request's header fields by lower-case name.

    Raises:
        BadDigest: a field is malformed, or names no algorithm that can be checked here.
    """
    return [digest for field in FIELDS if field in headers for digest in _read(field, headers[field])]


class DigestCheck:
    """Hashes a body as it comes in and compares it with what was announced.

    Args:
        announced: digests as `announced_digests` returns them.
    """

    def __init__(self, announced: Iterable[tuple[str, bytes]]) -> None:
        self._announced = list(announced)
        # SHA-256 is computed by the store anyway; SHA-512 only when somebody asks.
        wants_sha512 = any(algorithm == "sha-512" for algorithm, _ in self._announced)
        self._sha512 = hashlib.sha512() if wants_sha512 else None

    def update(self, chunk: bytes) -> None:
        """Take some bytes of the body."""
        if self._sha512 is not None:
            self._sha512.update(chunk)

    def verify(self, sha256_hex: str) -> None:
        """Compare, given the SHA-256 of the whole body.

        Raises:
            BadDigest: the body is not the one announced.
        """
        computed = {"sha-256": bytes.fromhex(sha256_hex)}
        if self._sha512 is not None:
            computed["sha-512"] = self._sha512.digest()
        for algorithm, expected in self._announced:
            found = computed[algorithm]
            if not hmac.compare_digest(expected, found):
                msg = f"Expected a body with {algorithm} {_base64(expected)}, got {_base64(found)}."
                raise BadDigest(msg, algorithm=algorithm, expected=_base64(expected), found=_base64(found))


def _read(field: str, value: str) -> list[tuple[str, bytes]]:
    try:
        members = cast(dict[str, object], http_sf.parse(value.encode("latin-1"), tltype="dictionary"))
    except (StructuredFieldError, UnicodeEncodeError) as error:
        msg = f"Expected {field} as a dictionary of digests such as sha-256=:<base64>:, got a malformed field."
        raise BadDigest(msg) from error
    known = [(name, _digest(field, name, member)) for name, member in members.items() if name in DIGEST_BYTES]
    if not known:
        msg = f"Expected {field} to hold {' or '.join(DIGEST_BYTES)}, got none of them."
        raise BadDigest(msg, algorithms=list(DIGEST_BYTES))
    return known


def _digest(field: str, algorithm: str, member: object) -> bytes:
    value = member[0] if isinstance(member, tuple) else None
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES[algorithm]:
        msg = f"Expected {algorithm} of {field} to be {DIGEST_BYTES[algorithm]} bytes in base64 between colons."
        raise BadDigest(msg)
    return value


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
