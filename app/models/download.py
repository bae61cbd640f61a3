"""Sending a stored file: whole, one range of it, only its headers, or word that the caller has it already.

Versions never change, so the entity tag is the digest and strong (RFC 9110 section 8.8.1), and every answer with
content carries `Repr-Digest` of the whole file: whoever assembles it from ranges can check what came together.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.models.digests import repr_digest
from app.preconditions import etag, matches_strongly, matches_weakly

CHUNK_BYTES = 1 << 20
MEDIA_TYPE = "application/vnd.safetensors"
# Kept by the caller, never by a shared cache, and asked about before it is used again: access can be withdrawn.
CACHE_CONTROL = "private, no-cache"
_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


@dataclass(frozen=True)
class ByteRange:
    """Bytes `first` to `last`, both inside."""

    first: int
    last: int

    @property
    def num_bytes(self) -> int:
        """How many bytes these are."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Download:
    """An open, checked file and what it is called; whoever holds it closes `file`."""

    file: BinaryIO
    sha256: str
    size_bytes: int
    filename: str
    marks: Mapping[str, str] = field(default_factory=dict)
    """Further header fields: what its verification said, and who overrode that."""

    @property
    def etag(self) -> str:
        """The strong entity tag, from the digest alone."""
        return etag(f"sha256-{self.sha256}")


def requested_range(field: str | None, size_bytes: int) -> ByteRange | None:
    """The one range that `Range` asks for; None when the whole file is the answer.

    A malformed field, another unit, or several ranges are passed over, as RFC 9110 section 14.2 allows: several ranges
    would let a short request ask for a very long answer.

    Raises:
        HTTPException: 416, the range lies outside the file.
    """
    found = _ONE_RANGE.fullmatch(field.strip()) if field else None
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        wanted = int(found[2])
        first, last = max(0, size_bytes - wanted), size_bytes - 1
    else:
        first = int(found[1])
        last = min(int(found[2]), size_bytes - 1) if found[2] else size_bytes - 1
        if found[2] and int(found[2]) < first:
            return None
    if first > last:
        msg = f"Expected a range within {size_bytes:,} bytes, got {found[0]}."
        raise HTTPException(416, msg, headers={"Content-Range": f"bytes */{size_bytes}"})
    return ByteRange(first, last)


def answer(download: Download, method: str, headers: Mapping[str, str]) -> Response:
    """The response to a `GET` or `HEAD` of the file; closes it when nothing more is to be read from it.

    Args:
        download: the open file.
        method: the request's method.
        headers: the request's header fields by lower-case name.
    """
    try:
        response = _answer(download, method, headers)
    except BaseException:
        download.file.close()
        raise
    if not isinstance(response, _FileResponse):
        download.file.close()
    return response


def _answer(download: Download, method: str, headers: Mapping[str, str]) -> Response:
    fields = {"ETag": download.etag, "Cache-Control": CACHE_CONTROL, "Accept-Ranges": "bytes", **download.marks}
    if matches_weakly(headers.get("if-none-match", ""), download.etag):
        return Response(status_code=304, headers=fields)
    fields |= {
        "Repr-Digest": repr_digest(download.sha256),
        "Content-Disposition": f'attachment; filename="{_safe(download.filename)}"',
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(download.size_bytes),
    }
    if method == "HEAD":
        return Response(headers=fields)
    part = _part(download, headers)
    if part is None:
        return _FileResponse(download.file, ByteRange(0, download.size_bytes - 1), 200, fields)
    fields["Content-Range"] = f"bytes {part.first}-{part.last}/{download.size_bytes}"
    fields["Content-Length"] = str(part.num_bytes)
    return _FileResponse(download.file, part, 206, fields)


def _part(download: Download, headers: Mapping[str, str]) -> ByteRange | None:
    # A date in If-Range never holds: there is no Last-Modified to compare it with.
    condition = headers.get("if-range")
    if condition is not None and (condition.strip() == "*" or not matches_strongly(condition, download.etag)):
        return None
    return requested_range(headers.get("range"), download.size_bytes)


def _safe(filename: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", filename).lstrip(".") or "artifact"


class _FileResponse(StreamingResponse):
    """Streams a part of an open file and closes it, also when the caller hangs up before the first byte."""

    def __init__(self, file: BinaryIO, part: ByteRange, status_code: int, headers: Mapping[str, str]) -> None:
        self._file = file
        super().__init__(self._chunks(part), status_code=status_code, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()

    async def _chunks(self, part: ByteRange) -> AsyncIterator[bytes]:
        # Each read runs in a thread, so a slow disk holds up nobody else, and a slow reader holds no thread.
        self._file.seek(part.first)
        left = part.num_bytes
        while left > 0:
            chunk = await run_in_threadpool(self._file.read, min(CHUNK_BYTES, left))
            if not chunk:
                # Shorter than the Content-Length sent: the server breaks the connection, which the caller can see.
                return
            left -= len(chunk)
            yield chunk
