"""The receipt in the answer to a submission: signed before the commit, sent after it."""

from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.resources import Resources
from core.ledger.receipts import sign_receipt
from core.ledger.tables import LedgerEntry


async def _digest(request: Request) -> str:
    return sha256(await request.body()).hexdigest()


BodyDigest = Annotated[str, Depends(_digest)]
"""SHA-256 of the body as received, hex."""


def receipt_for(held: Resources, session: Session, entry: LedgerEntry, request_sha256: str) -> dict[str, Any] | None:
    """The receipt for a request accepted in this transaction; None without a signing key.

    Costs a signature and no query, but for the first receipt of a process that has seen no checkpoint yet.
    """
    ring = held.keys.current()
    if ring is None:
        return None
    checkpoint = held.sealer.newest_known(session)
    return sign_receipt(ring, entry, request_sha256=request_sha256, checkpoint=checkpoint)
