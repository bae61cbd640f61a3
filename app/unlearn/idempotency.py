"""`Idempotency-Key`: sending a request twice does the work once (draft-ietf-httpapi-idempotency-key-header-07).

Rules:

1. The key is locked first, so of two requests with one key the second waits until the first has committed or given up.
2. The answer is stored in the transaction of the job, so neither exists without the other.
3. The stored answer is replayed to the same body; another body under the same key is refused.
4. Only an accepted request is stored. A refused one left nothing behind, so its key may be used again.
5. A key belongs to a tenant and a route, and lives until the personal data of its request are destroyed: the answer
   names classes, and the fingerprint is an unkeyed hash of a body that could be guessed.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.errors import MalformedHeader
from core.clock import database_now
from core.errors import Invalid
from core.requests.tables import IdempotencyRecord

_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
_BARE = re.compile(r"[\x21\x23-\x7e]{1,255}")


class KeyReused(Invalid):
    """The key came before with another body."""

    slug = "idempotency-key-reused"
    title = "The Idempotency-Key was used for another request"


@dataclass(frozen=True)
class Keyed:
    """A request under a key, by the digest of what was asked."""

    key: str
    route: str
    fingerprint: str


async def _keyed(request: Request) -> Keyed | None:
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    if len(values) > 1:
        msg = f"Expected one Idempotency-Key, got {len(values)}."
        raise MalformedHeader(msg)
    route = f"{request.method} {request.scope['route'].path}"
    whole = f"{request.method} {request.scope['path']}\n".encode() + await request.body()
    return Keyed(parse_key(values[0]), route, sha256(whole).hexdigest())


IdempotencyKey = Annotated[Keyed | None, Depends(_keyed)]
"""The key sent with this request, if any."""


def parse_key(value: str) -> str:
    """The key in a header field: a quoted string (RFC 9651 section 3.3.3), or the bare text many clients send.

    Raises:
        MalformedHeader: it is neither, or longer than 255 characters.
    """
    value = value.strip(" \t")
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _BARE.fullmatch(value):
        key = value
    else:
        msg = "Expected an Idempotency-Key of 1 to 255 printable ASCII characters in double quotes."
        raise MalformedHeader(msg)
    return key


def lock_and_find(session: Session, who: Caller, keyed: Keyed) -> Response | None:
    """Lock the key until the transaction ends; the first answer to it, if there was one.

    Raises:
        KeyReused: the first request with the key had another body.
    """
    if session.get_bind().dialect.name == "postgresql":
        name = "\x1f".join((who.tenant, keyed.route, keyed.key))
        number = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
        # The row cannot be inserted first: it points to the job. SQLite's writers wait for each other anyway.
        session.execute(select(func.pg_advisory_xact_lock(number)))
    record = session.get(IdempotencyRecord, (who.tenant, keyed.route, keyed.key))
    if record is None:
        return None
    if record.fingerprint != keyed.fingerprint:
        msg = "Expected the body that first came with this Idempotency-Key, got another; use a new key."
        raise KeyReused(msg, request=record.headers["location"])
    headers = {**record.headers, "Idempotency-Replayed": "true"}
    return Response(record.body, record.status_code, headers=headers, media_type="application/json")


def remember(session: Session, who: Caller, keyed: Keyed, job_id: UUID, answer: Response) -> None:
    """Store the first answer; the caller commits it together with the job."""
    headers = {name: answer.headers[name] for name in ("location", "retry-after", "link") if name in answer.headers}
    session.add(
        IdempotencyRecord(
            tenant=who.tenant,
            route=keyed.route,
            key=keyed.key,
            actor=who.actor,
            fingerprint=keyed.fingerprint,
            job_id=job_id,
            status_code=answer.status_code,
            headers=headers,
            body=bytes(answer.body),
            created_at=database_now(session),
        )
    )
    session.flush()
