"""Progress as server-sent events (WHATWG HTML, section 9.2).

The row is looked at twice a second in a transaction of its own, so a slow reader holds neither a transaction nor,
between two looks, a thread; hence an asynchronous generator. Streams are counted, and each ends after a while: an
`EventSource` comes back by itself and says with `Last-Event-ID` what it knows.
"""

import threading
import time
from collections.abc import AsyncIterator, Callable

import anyio
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.errors import problem
from app.unlearn.schemas import Progress

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 600.0
MAX_STREAMS = 64

_slots = threading.BoundedSemaphore(MAX_STREAMS)


class EventStream(StreamingResponse):
    """A stream that takes one of the process's slots while it lasts; 503 when none is free."""

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        if not _slots.acquire(blocking=False):
            detail = f"Expected at most {MAX_STREAMS} event streams at once; poll instead, or try again."
            headers = {"Retry-After": "5"}
            busy = problem(scope, 503, "too-many-streams", "Too many event streams", detail, headers=headers)
            await busy(scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        finally:
            _slots.release()


def stream(look: Callable[[], Progress], *, seen: int | None) -> EventStream:
    """The events of one request until it is final.

    Args:
        look: reads the request in a transaction of its own.
        seen: the revision the caller knows already (`Last-Event-ID`).
    """
    return EventStream(_events(look, seen), headers={"X-Accel-Buffering": "no"})


async def _events(look: Callable[[], Progress], seen: int | None) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    started = spoken = time.monotonic()
    while True:
        progress = await run_in_threadpool(look)
        now = time.monotonic()
        if progress.revision != seen:
            yield as_event(progress)
            seen, spoken = progress.revision, now
        if progress.state.is_final or now - started > LONGEST_SECONDS:
            return
        if now - spoken > HEARTBEAT_SECONDS:
            yield ": still here\n\n"
            spoken = now
        await anyio.sleep(POLL_SECONDS)


def as_event(progress: Progress) -> str:
    """One event: `progress` while the request can still change, `final` once it cannot."""
    name = "final" if progress.state.is_final else "progress"
    return f"id: {progress.revision}\nevent: {name}\ndata: {progress.model_dump_json()}\n\n"
