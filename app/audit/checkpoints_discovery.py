"""`/.well-known/expunge`: which keys this service signs and signed with."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Response
from pydantic import Field

from app.audit.conditional import conditional
from app.dependencies import Held, ReadingSession
from app.schemas import Out, problems
from core.signing.dsse import key_hint
from core.signing.exchange import jwk_of, pem_of
from core.signing.keyring import Use
from core.signing.notes import P256
from core.signing.published import Published, published

router = APIRouter(tags=["audit"])


class SigningKeyOut(Out):
    use: Use
    vkey: str
    keyid: str
    valid_from: datetime
    valid_until: datetime | None
    jwk: dict[str, str]
    pem: str | None = Field(description="For model keys: what `model_signing verify key` takes.")


class WellKnown(Out):
    origin: str | None
    keys: list[SigningKeyOut]
    witnesses: list[str]
    routes: dict[str, str]


@router.get(
    "/.well-known/expunge",
    operation_id="show_signing_keys",
    response_model=WellKnown,
    responses={304: {"description": "It is as the ETag in If-None-Match says."}, 422: problems()[422]},
)
def well_known(held: Held, session: ReadingSession, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Every public key that ever signed here, and when. Open to everybody.

    `checkpoint` keys sign the ledger's checkpoints, `statement` keys receipts and attestations, `model` keys weights.
    Pin a key from a channel that you trust once, and check with the pinned one: whoever can change this service can
    change this page.
    """
    ring = held.keys.current()
    shown = WellKnown(
        origin=ring.origin if ring is not None else None,
        keys=[_shown(key) for key in published(session)],
        witnesses=held.settings.witness_keys.split(),
        routes={"checkpoint": "/audit/checkpoint", "entries": "/audit/entries", "export": "/audit/export"},
    )
    return conditional(shown.model_dump_json(), "application/json", if_none_match)


def _shown(key: Published) -> SigningKeyOut:
    return SigningKeyOut(
        use=key.use,
        vkey=key.public.vkey,
        keyid=key_hint(key.public),
        valid_from=key.valid_from,
        valid_until=key.valid_until,
        jwk={**jwk_of(key.public), "kid": key_hint(key.public)},
        pem=pem_of(key.public) if key.public.kind == P256 else None,
    )
