"""Answers of the ledger with an entity tag: what was proved once stays so, and need not be sent twice."""

from hashlib import sha256

from fastapi import Response

from app.preconditions import etag, matches_weakly

TEXT = "text/plain; charset=utf-8"


def conditional(body: str, media_type: str, if_none_match: str | None) -> Response:
    """The body under the digest of its bytes; 304 if the caller has it."""
    content = body.encode()
    tag = etag(sha256(content).hexdigest())
    if if_none_match is not None and matches_weakly(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    return Response(content, headers={"ETag": tag}, media_type=media_type)
