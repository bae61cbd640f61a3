"""Routes of the ledger."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.audit import service
from app.audit.schemas import EntriesOut
from app.dependencies import Caller, Held, ReadingSession, caller
from app.schemas import problems
from core.ledger.sealing import newest_checkpoint

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("/entries", operation_id="list_ledger_entries", responses=problems())
def list_entries(
    who: Annotated[Caller, caller("audit:read")],
    session: ReadingSession,
    start: Annotated[int, Query(ge=0, le=2**63 - 1, description="Number of the first entry wanted.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    request: Annotated[UUID | None, Query(description="Only entries about this request.")] = None,
) -> EntriesOut:
    """Your ledger entries by number: the bytes that were hashed, and their hash.

    Size and root are those of the whole ledger. Entries of other tenants are left out, so numbers may have gaps; the
    complete ledger is at `/audit/export`.
    """
    return service.own_entries(session, who.tenant, start=start, limit=limit, request=request)


@router.get(
    "/export",
    operation_id="export_ledger",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/json": {}}, "description": "The export document."}, **problems()},
)
def export(who: Annotated[Caller, caller("audit:read")], held: Held) -> StreamingResponse:
    """The complete ledger as one file that `expunge verify FILE` checks without this service.

    As soon as the ledger holds entries of another tenant, this needs the scope `admin`: the bytes that were hashed name
    tenants, actors and models, and cannot be left out without breaking the chain. `checkpoint` is the newest that was
    signed, if any was.
    """
    with held.database.reading() as session:
        service.refuse_foreign_ledger(session, who)
        signed = newest_checkpoint(session)
        head = service.read_head(session)
    return StreamingResponse(
        service.export(held.database, head, signed.note if signed is not None else None),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="expunge-ledger.json"'},
    )
