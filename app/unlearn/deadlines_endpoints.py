"""Routes that move the deadline of a request."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter

from app.dependencies import Caller, CurrentSettings, WritingSession, caller
from app.schemas import problems
from app.unlearn.deadlines_schemas import ExtendIn, ReasonIn
from app.unlearn.schemas import UnlearnOut
from app.unlearn.views import show
from core.deadlines import moves
from core.deadlines.moves import Grounds
from core.requests.repository import find_request

router = APIRouter(prefix="/unlearn/{request_id}/deadline", tags=["unlearn"])

Clerk = Annotated[Caller, caller("deadlines:write")]


@router.post("/extend", operation_id="extend_deadline", responses=problems(404, 409, 413, 415))
def extend(
    request_id: UUID, body: ExtendIn, who: Clerk, session: WritingSession, settings: CurrentSettings
) -> UnlearnOut:
    """Give the answer one or two further months (GDPR Article 12(3)), counted from the day of receipt.

    Once, and no later than the day it is due (409 `deadline-extension-refused` otherwise). Tell the data subject within
    the same time: this service writes the extension down and tells nobody.
    """
    request = find_request(session, who.tenant, request_id, lock=True)
    moves.extend(session, request, body.months, Grounds(who.actor, body.reason), working_days=settings.working_days)
    return show(session, request)


@router.post("/pause", operation_id="pause_deadline", responses=problems(404, 409, 413, 415))
def pause(request_id: UUID, body: ReasonIn, who: Clerk, session: WritingSession) -> UnlearnOut:
    """Stop the clock, as while the data subject has to prove who they are. The work itself goes on."""
    request = find_request(session, who.tenant, request_id, lock=True)
    moves.pause(session, request, Grounds(who.actor, body.reason))
    return show(session, request)


@router.post("/resume", operation_id="resume_deadline", responses=problems(404, 409, 413, 415))
def resume(
    request_id: UUID, body: ReasonIn, who: Clerk, session: WritingSession, settings: CurrentSettings
) -> UnlearnOut:
    """Let the clock run again. It is due later by the days for which it stood still; a part of a day does not count."""
    request = find_request(session, who.tenant, request_id, lock=True)
    moves.resume(session, request, Grounds(who.actor, body.reason), working_days=settings.working_days)
    return show(session, request)


@router.post("/answer", operation_id="answer_subject", responses=problems(404, 409, 413, 415))
def answer(request_id: UUID, body: ReasonIn, who: Clerk, session: WritingSession) -> UnlearnOut:
    """Write down that the data subject was answered although nothing was deleted (GDPR Article 12(4)).

    For a request that failed or was rejected: its deadline runs until it is retried, overridden, or this. One that is
    published, cancelled or denied has been closed by that.
    """
    request = find_request(session, who.tenant, request_id, lock=True)
    moves.answer(session, request, Grounds(who.actor, body.reason))
    return show(session, request)
