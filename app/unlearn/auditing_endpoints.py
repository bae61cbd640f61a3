"""Routes of audits."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response

from app.dependencies import Caller, CurrentSettings, ReadingSession, Storage, WritingSession, caller
from app.preconditions import etag, matches_weakly
from app.schemas import problems
from app.unlearn import auditing
from app.unlearn.auditing_schemas import AuditIn, AuditOut
from app.unlearn.auditing_views import audit_out, audit_url, tag_of
from core.states import JobState

router = APIRouter(prefix="/unlearn/{request_id}/audit", tags=["unlearn"])

POLL_AFTER_SECONDS = 1


@router.post(
    "",
    operation_id="audit_request",
    status_code=202,
    response_model=AuditOut,
    responses=problems(404, 409, 413, 415),
)
def start(
    request_id: UUID,
    body: AuditIn,
    who: Annotated[Caller, caller("requests:submit")],
    session: WritingSession,
    settings: CurrentSettings,
    storage: Storage,
) -> Response:
    """Audit a finished request with shadow models.

    For each pair one model is trained on all classes and unlearned by the request's own method, and one is trained
    without the classes, by the model's newest recipe: jobs in the same queue, after all others. From what they answer
    the attacks U-LiRA and RMIA, KLOM and the public challenge's metric are measured. The verdict stays what it is.

    Asked again with more pairs, only the missing models are made. Refused (409) while an audit is under way, or when
    the request is neither published nor rejected; 404 without a recipe or data set.
    """
    audit = auditing.start(session, who, request_id, body, max_attempts=settings.max_attempts, is_stored=storage.exists)
    return _answer(audit, 202)


@router.get(
    "",
    operation_id="show_audit",
    response_model=AuditOut,
    responses={304: {"description": "It is as the ETag in If-None-Match says."}, **problems(404)},
)
def show(
    request_id: UUID,
    who: Annotated[Caller, caller("requests:read")],
    session: ReadingSession,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The newest audit of a request: how many shadow models are in which state, and the measures.

    Poll with `If-None-Match` and wait `Retry-After` seconds in between; without `Retry-After` it is final.
    """
    return _answer(auditing.find(session, who.tenant, request_id), 200, if_none_match)


@router.delete(
    "",
    operation_id="cancel_audit",
    response_model=AuditOut,
    responses={202: {"model": AuditOut, "description": "It runs, and will stop soon."}, **problems(404, 409)},
)
def cancel(request_id: UUID, who: Annotated[Caller, caller("requests:cancel")], session: WritingSession) -> Response:
    """Withdraw an audit with its shadow models; those that are finished stay for the next audit.

    A final audit cannot be withdrawn (409).
    """
    audit = auditing.cancel(session, who, request_id)
    return _answer(audit, 202 if audit.job.state == JobState.RUNNING else 200)


def _answer(audit: auditing.Audit, status: int, if_none_match: str | None = None) -> Response:
    tag = etag(tag_of(audit))
    headers = {"ETag": tag}
    if not JobState(audit.job.state).is_final:
        headers["Retry-After"] = str(POLL_AFTER_SECONDS)
    if if_none_match is not None and matches_weakly(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    if status == 202:
        headers["Location"] = audit_url(audit)
    return Response(audit_out(audit).model_dump_json().encode(), status, headers=headers, media_type="application/json")
