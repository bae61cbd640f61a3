"""Taking a large body into the store: never whole in memory, and nothing kept unless every check passes.

The route around it is a plain `def`, but the bytes come in here, in an async dependency, and only the disk work goes to
a thread, a megabyte at a time. The alternative, a thread that waits for the network for the whole upload, would let a
few dozen slow senders occupy every thread there is; the other, writing on the event loop, would stop all requests
whenever the disk stops. No transaction is open while bytes arrive.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.models.digests import DigestCheck, announced_digests
from core.errors import BadDigest, TooLarge
from models_store.storage import BlobWriter, Storage, StoredBlob

BATCH_BYTES = 1 << 20

Inspection = Callable[[bytes, int], object]
"""Given the first bytes of a body and its whole size: raises what is wrong with it."""


class IncompleteUpload(BadDigest):
    """Fewer or more bytes came than the request announced."""

    slug = "incomplete-upload"
    title = "The upload is not whole"


async def receive(
    request: Request,
    store: Storage,
    *,
    max_bytes: int,
    inspect: Inspection,
    num_head_bytes: int,
) -> StoredBlob:
    """Stream the body into the store; durable on return.

    Args:
        request: its body has not been read yet.
        store: where the bytes go.
        max_bytes: largest body; refused before the first byte if `Content-Length` says so.
        inspect: looks at the beginning of the body before it is kept.
        num_head_bytes: how much of the beginning `inspect` needs.

    Raises:
        BadDigest: the body is not the one announced by its digest fields.
        IncompleteUpload: the connection broke, or the length is not the announced one.
        TooLarge: the body is over the limit.
    """
    length = _announced_length(request, max_bytes)
    check = DigestCheck(announced_digests(request.headers))
    writer = await run_in_threadpool(store.writer, max_bytes)
    intake = _Intake(writer, check, num_head_bytes)
    try:
        async for batch in _batches(request):
            await run_in_threadpool(intake.take, batch)
        return await run_in_threadpool(intake.finish, length, inspect)
    except ClientDisconnect as error:
        msg = f"Expected the whole body, got {writer.size_bytes:,} bytes before the connection closed."
        raise IncompleteUpload(msg) from error
    finally:
        # Not in a thread: a cancelled request may not wait for one, and this only closes and unlinks.
        writer.abort()


def upload_body(media_type: str) -> dict[str, Any]:
    """The request body of an upload route for its OpenAPI text: bytes that the framework does not read itself."""
    schema = {"type": "string", "format": "binary"}
    digest = {
        "name": "Repr-Digest",
        "in": "header",
        "required": False,
        "description": "RFC 9530: `sha-256=:<base64>:` or `sha-512=:<base64>:` of the file; checked when sent.",
        "schema": {"type": "string"},
    }
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}, "parameters": [digest]}


def _announced_length(request: Request, max_bytes: int) -> int | None:
    field = request.headers.get("content-length")
    if field is None:
        return None
    if not (field.isascii() and field.isdigit()) or len(field) > 18:
        raise IncompleteUpload("Expected Content-Length as a number of bytes, got something else.")
    if int(field) > max_bytes:
        msg = f"Expected at most {max_bytes:,} bytes, got a body of {int(field):,}."
        raise TooLarge(msg, max_bytes=max_bytes)
    return int(field)


async def _batches(request: Request) -> AsyncIterator[bytes]:
    # The server hands out some 64 KiB at a time; a hop to a thread for each would cost more than the write.
    gathered: list[bytes] = []
    num_bytes = 0
    async for chunk in request.stream():
        gathered.append(chunk)
        num_bytes += len(chunk)
        if num_bytes >= BATCH_BYTES:
            yield b"".join(gathered)
            gathered, num_bytes = [], 0
    yield b"".join(gathered)


class _Intake:
    """The disk side of one upload; every method runs in a thread, one at a time."""

    def __init__(self, writer: BlobWriter, check: DigestCheck, num_head_bytes: int) -> None:
        self._writer = writer
        self._check = check
        self._num_head_bytes = num_head_bytes
        self._head = bytearray()

    def take(self, batch: bytes) -> None:
        """Write some bytes."""
        self._writer.write(batch)
        self._check.update(batch)
        if len(self._head) < self._num_head_bytes:
            self._head += batch[: self._num_head_bytes - len(self._head)]

    def finish(self, length: int | None, inspect: Inspection) -> StoredBlob:
        """Check what has come and keep it."""
        if length is not None and length != self._writer.size_bytes:
            msg = f"Expected {length:,} bytes as Content-Length says, got {self._writer.size_bytes:,}."
            raise IncompleteUpload(msg)
        self._check.verify(self._writer.sha256)
        inspect(bytes(self._head), self._writer.size_bytes)
        return self._writer.commit()
