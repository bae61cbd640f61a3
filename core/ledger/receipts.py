"""Receipts: a signed promise that a request was accepted, and where in the ledger that stands.

A receipt is a DSSE envelope around canonical JSON:

    {"v": 1, "origin": the ledger's name, "request": "<uuid>", "request_sha256": hex of the request's body as received,
     "received_at": "...Z" as in the entry, "index": number of the entry, "leaf_hash": hex, "fence": 0,
     "checkpoint": the newest signed checkpoint the service knew, or null}

It is made in the transaction of the request and sent after its commit. The checkpoint is usually older than the entry;
that it rides along spreads what the service once signed among those it signed it for.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.clock import to_rfc3339
from core.ledger.entries import canonical
from core.ledger.tables import LedgerEntry
from core.signing.dsse import BadEnvelope, envelope, open_envelope
from core.signing.keyring import Keyring
from core.signing.notes import PublicKey

PAYLOAD_TYPE = "application/vnd.expunge.receipt+json"
FENCE = 0
"""No worker has touched an accepted request."""


@dataclass(frozen=True)
class Receipt:
    """What a receipt states."""

    origin: str
    request: str
    request_sha256: str
    received_at: str
    index: int
    leaf_hash: bytes
    fence: int
    checkpoint: str | None


def sign_receipt(
    ring: Keyring, entry: LedgerEntry, *, request_sha256: str, checkpoint: str | None
) -> dict[str, Any] | None:
    """The receipt for the request whose first entry this is, as an envelope; None if the ring has no key that signs."""
    signers = ring.signers("statement")
    if not signers:
        return None
    facts = {
        "v": 1,
        "origin": ring.origin,
        "request": str(entry.request_id),
        "request_sha256": request_sha256,
        "received_at": to_rfc3339(entry.at),
        "index": entry.seq,
        "leaf_hash": entry.leaf_hash.hex(),
        "fence": FENCE,
        "checkpoint": checkpoint,
    }
    return envelope(PAYLOAD_TYPE, canonical(facts), signers)


def open_receipt(document: Mapping[str, Any], keys: Sequence[PublicKey]) -> Receipt:
    """What a receipt states, once one of the keys is known to have signed it.

    Raises:
        BadEnvelope: it is malformed, changed, or signed by none of the keys.
    """
    payload = open_envelope(document, PAYLOAD_TYPE, keys)
    try:
        facts = json.loads(payload)
        checkpoint = facts["checkpoint"]
        return Receipt(
            origin=str(facts["origin"]),
            request=str(facts["request"]),
            request_sha256=str(facts["request_sha256"]),
            received_at=str(facts["received_at"]),
            index=int(facts["index"]),
            leaf_hash=bytes.fromhex(facts["leaf_hash"]),
            fence=int(facts["fence"]),
            checkpoint=None if checkpoint is None else str(checkpoint),
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"Expected a receipt, got another statement ({type(error).__name__})."
        raise BadEnvelope(msg) from error
