"""Digest fields against the vectors of RFC 9530."""

import hashlib

import pytest

from app.models.digests import DigestCheck, announced_digests, repr_digest
from core.errors import BadDigest

CONTENT = b'{"hello": "world"}\n'
# RFC 9530 appendix B.1 and section 2.
SHA256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
SHA512 = "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:"


def check(content: bytes, **headers: str) -> None:
    """What an upload does with its headers and its body."""
    announced = DigestCheck(announced_digests({name.replace("_", "-"): value for name, value in headers.items()}))
    announced.update(content[:5])
    announced.update(content[5:])
    announced.verify(hashlib.sha256(content).hexdigest())


def test_digest_of_a_download_is_the_one_of_the_rfc() -> None:
    assert repr_digest(hashlib.sha256(CONTENT).hexdigest()) == SHA256


@pytest.mark.parametrize("field", [SHA256, SHA512, f"{SHA256}, {SHA512}", f"unixsum=30637, {SHA256};x=1"])
@pytest.mark.parametrize("header", ["repr_digest", "content_digest"])
def test_right_digest_is_taken(header: str, field: str) -> None:
    check(CONTENT, **{header: field})


def test_no_digest_is_taken() -> None:
    check(CONTENT)


@pytest.mark.parametrize("field", [SHA256, SHA512])
def test_digest_of_other_bytes_is_refused_with_both(field: str) -> None:
    with pytest.raises(BadDigest) as refused:
        check(CONTENT + b"!", repr_digest=field)
    assert str(refused.value.extensions["expected"]) in field
    assert str(refused.value.extensions["found"]) not in field


def test_both_headers_must_match() -> None:
    other = repr_digest(hashlib.sha256(b"").hexdigest())
    with pytest.raises(BadDigest):
        check(CONTENT, repr_digest=SHA256, content_digest=other)


@pytest.mark.parametrize(
    "field",
    [
        "",
        "md5=:AAAA:",
        "sha-256",
        "sha-256=1",
        "sha-256=:AAAA:",
        'sha-256="RK/0"',
        "sha-256=(:AAAA:)",
        "=",
        "\u00e9",
        "\u20ac",
    ],
)
def test_field_that_cannot_be_checked_is_refused(field: str) -> None:
    with pytest.raises(BadDigest):
        announced_digests({"repr-digest": field})
