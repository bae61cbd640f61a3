"""The receipt in the answer to a submission: signed before the commit, sent after it."""

import json
from hashlib import sha256
from typing import Annotated, Any

import rfc8785
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.resources import Resources
from core.ledger.receipts import sign_receipt
from core.ledger.tables import LedgerEntry
from core.requests.tables import Submission


async def _body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_body)]
"""The body as received."""


def receipt_for(held: Resources, session: Session, entry: LedgerEntry, body: bytes) -> dict[str, Any] | None:
    """The receipt for a request accepted in this transaction; None without a signing key.

    Kept with the request's bytes for its evidence. Costs a signature and one insertion, but for the first receipt of a
    process that has seen no checkpoint yet.
    """
    ring = held.keys.current()
    receipt = None
    if ring is not None:
        checkpoint = held.sealer.newest_known(session)
        receipt = sign_receipt(ring, entry, request_sha256=sha256(body).hexdigest(), checkpoint=checkpoint)
    leaf = json.loads(entry.leaf)
    kept = Submission(tenant=entry.tenant, actor=leaf["actor"], job_id=entry.request_id, created_at=entry.at)
    kept.body, kept.receipt = body, rfc8785.dumps(receipt) if receipt is not None else None
    session.add(kept)
    session.flush()
    return receipt
