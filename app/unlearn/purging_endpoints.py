"""Routes of purges."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response

from app.dependencies import Caller, CurrentSettings, ReadingSession, WritingSession, caller
from app.schemas import problems
from app.unlearn import purging
from app.unlearn.purging_schemas import PurgeOut

router = APIRouter(prefix="/unlearn/{request_id}/purge", tags=["unlearn"])


@router.post("", operation_id="purge_request", status_code=202, responses=problems(404, 409))
def start(
    request_id: UUID,
    who: Annotated[Caller, caller("purge")],
    session: WritingSession,
    settings: CurrentSettings,
    response: Response,
) -> PurgeOut:
    """Remove for good what still holds the classes of a published deletion.

    That is the quarantined versions, refused uploads, rejected candidates, references trained with the classes, records
    of shadow models, prototypes, and the classes' images in the data sets that the lineage was worked on with. What
    somebody still needs stays, and the result says who. A job, with entries in the ledger before the first byte goes
    and after the last; its result proves by listings of the store what is absent.

    Refused (409) when the request is not published, before the retention period is over, or while a purge is under way.
    """
    retention, most = settings.purge_after, settings.max_attempts
    job = purging.start(session, who, request_id, retention=retention, max_attempts=most)
    response.headers["Location"] = f"/unlearn/{request_id}/purge"
    return PurgeOut.of(job)


@router.get("", operation_id="show_purge", responses=problems(404))
def show(request_id: UUID, who: Annotated[Caller, caller("requests:read")], session: ReadingSession) -> PurgeOut:
    """The newest purge of a request, with what went, what stayed and why."""
    return PurgeOut.of(purging.newest(session, who.tenant, request_id))
