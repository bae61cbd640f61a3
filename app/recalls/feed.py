"""The recall feed: a page of recalls as canonical JSON in a signed envelope.

    {"v": 1, "origin": the ledger's name, "tenant": "...", "after": number or null, "items": [...], "cursor": number or
     null, "more": whether the next page has items already, "num_recalls": of the tenant, in all}

The same page of the same recalls has the same bytes, so that its entity tag tells a poller that nothing is new. The id
of a recall is the number of its ledger entry: /audit/proof/inclusion proves it against a checkpoint.
"""

import json
from typing import Any

from sqlalchemy.orm import Session

from core.errors import Conflict
from core.ledger.entries import canonical
from core.signing.dsse import envelope
from core.signing.keyring import Keyring
from models_store.lineage.recalls import count_recalls, recall_json, recalls_after

PAYLOAD_TYPE = "application/vnd.expunge.recalls+json"


class NoStatementKey(Conflict):
    """Without a signing key there is nothing by which a consumer could tell a recall from a forgery."""

    slug = "no-signing-key"
    title = "There is no signing key"


def signed_page(session: Session, ring: Keyring | None, tenant: str, after: int | None, limit: int) -> str:
    """One page of the feed, signed by every statement key that signs now.

    Raises:
        NoStatementKey: the operator has made no signing keys.
    """
    signers = ring.signers("statement") if ring is not None else []
    if ring is None or not signers:
        msg = (
            "Expected signing keys to sign the recalls with, got none; the operator makes them with expunge keys init."
        )
        raise NoStatementKey(msg)
    found = recalls_after(session, tenant, after, limit)
    page = found[:limit]
    feed: dict[str, Any] = {
        "v": 1,
        "origin": ring.origin,
        "tenant": tenant,
        "after": after,
        "items": [recall_json(session, one) for one in page],
        "cursor": page[-1].entry if page else after,
        "more": len(found) > limit,
        "num_recalls": count_recalls(session, tenant),
    }
    return json.dumps(envelope(PAYLOAD_TYPE, canonical(feed), signers))
