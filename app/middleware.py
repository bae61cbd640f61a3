"""Around every request: an id, a limit for the body, headers for safety, one line in the log.

Plain ASGI, because these see streams; `scope["path"]` is never used to decide who may do what.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import log_unforeseen, problem, unforeseen
from core.errors import Invalid, TooLarge
from core.settings import MIB, Settings

LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * MIB

access_log = logging.getLogger("expunge.access")

SAFETY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Given to every answer that does not set its own."""


class RequestId:
    """Outermost: names the request, adds the safety headers, answers what nobody foresaw, writes the access log."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in SAFETY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 the outermost layer: nobody above would answer
            if status:  # the answer has begun; all that is left is to cut it short, as the server does when we return
                log_unforeseen(scope, error)
                return
            # Answered here and not by Starlette's outermost layer, whose answer would lack id and headers.
            await unforeseen(scope, error)(scope, receive, send_with_headers)
        finally:
            _log_access(scope, request_id, status, time.perf_counter() - started)


class LingeringClose:
    """Lets a caller who is still sending hear the answer.

    A connection that is closed over unread bytes is reset, and the reset can destroy an answer that is on its way: a
    refusal in the middle of an upload would look like a broken line. So what still comes is read for a moment and
    thrown away, between the answer and its end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sends_a_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        # Who waits for `100 Continue` has sent nothing.
        is_read = not sends_a_body or "expect" in headers

        async def watched() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def send_and_linger(message: Message) -> None:
            if is_read:
                await send(message)
            elif message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
                await send(message)
            elif message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                await discard()
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def discard() -> None:
            num_bytes = 0
            with anyio.move_on_after(LINGER_SECONDS):
                while not is_read and num_bytes < LINGER_BYTES:
                    num_bytes += len((await watched()).get("body", b""))

        await self.app(scope, watched, send_and_linger)


class BodyLimit:
    """Refuses bodies over the limit: by their announced length at once, without one as soon as too much has come.

    Starlette's own limiter answers in plain text when nobody reads the body; this one always sends a problem document,
    and its limits come from the settings.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.default = settings.max_body_bytes
        self.uploads = (
            (re.compile(r"/models/[^/]+/(references/[^/]+/)?weights"), settings.max_weights_bytes),
            (re.compile(r"/datasets/[^/]+/content"), settings.max_dataset_bytes),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope)
        sentence = f"Expected a body of at most {limit:,} bytes."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            response = problem(scope, 413, TooLarge.slug, TooLarge.title, sentence, extensions={"max_bytes": limit})
            await response(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, sentence)
            return message

        await self.app(scope, counted, send)

    def _limit(self, scope: Mapping[str, Any]) -> int:
        if scope["method"] == "PUT":
            for path, limit in self.uploads:
                if path.fullmatch(scope["path"]):
                    return limit
        return self.default


class NoNul:
    """Refuses NUL characters in path and query, which PostgreSQL cannot store or compare."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and ("\x00" in scope["path"] or b"%00" in scope["query_string"]):
            response = problem(scope, 422, Invalid.slug, Invalid.title, "Expected a URL without NUL characters.")
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _log_access(scope: Mapping[str, Any], request_id: str, status: int, seconds: float) -> None:
    # The route's template and not the path; no query either: both can hold names that belong to people.
    route = getattr(scope.get("route"), "path", None)
    line = {
        "event": "request",
        "request_id": request_id,
        "method": scope["method"],
        "route": route or "-",
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
    }
    access_log.info(json.dumps(line))


def configure_logging() -> None:
    """Send the service's own log lines to standard error, unless somebody has already said where they go."""
    logger = logging.getLogger("expunge")
    if not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
