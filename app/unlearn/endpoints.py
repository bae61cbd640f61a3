"""Routes of deletion requests."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from app.dependencies import Caller, Held, Paging, ReadingSession, WritingSession, caller
from app.preconditions import matches_weakly
from app.schemas import problems
from app.unlearn import events, idempotency, overriding, service, submission
from app.unlearn.idempotency import IdempotencyKey
from app.unlearn.receipts import RawBody, receipt_for
from app.unlearn.schemas import OverrideIn, Progress, Sort, UnlearnIn, UnlearnList, UnlearnOut
from app.unlearn.views import show, show_all
from core.policy.override import Override
from core.requests.repository import find_request
from core.states import JobState

router = APIRouter(prefix="/unlearn", tags=["unlearn"])

POLL_AFTER_SECONDS = 1


@router.post(
    "",
    operation_id="submit_request",
    status_code=202,
    response_model=UnlearnOut,
    responses=problems(400, 404, 409, 413, 415),
)
def submit(
    body: UnlearnIn,
    key: IdempotencyKey,
    who: Annotated[Caller, caller("requests:submit")],
    raw: RawBody,
    session: WritingSession,
    held: Held,
) -> Response:
    """Ask for one or several classes to be deleted from a model.

    A 202 means that the request is committed, with a ledger entry, and will reach exactly one final state: `published`,
    `rejected` (the verification said no), `failed`, `cancelled` or `denied`. What can be known to fail is refused now:
    unknown names (404), classes already deleted or being deleted (409), too few images to verify with, margins that
    make no sense, a policy that compares with a reference when none is registered (422).

    Where the operator has made signing keys, `receipt` is a signed envelope that proves the acceptance later: digest of
    the body as received, time, number of the ledger entry. Keep it; the service does not hand it out again.

    With an `Idempotency-Key` header (a quoted string) the same request can be sent again: the first answer is replayed
    with `Idempotency-Replayed: true`, and nothing happens twice.
    """
    replayed = idempotency.lock_and_find(session, who, key) if key else None
    if replayed is not None:
        return replayed
    request, entry = submission.submit(session, who, body, held.settings)
    shown = show(session, request).model_copy(update={"receipt": receipt_for(held, session, entry, raw)})
    answer = _answer(shown, 202)
    if key:
        idempotency.remember(session, who, key, request.job_id, answer)
    return answer


@router.get("", operation_id="list_requests", responses=problems(404))
def list_all(
    who: Annotated[Caller, caller("requests:read")],
    session: ReadingSession,
    page: Paging,
    state: JobState | None = None,
    model: Annotated[str | None, Query(max_length=128)] = None,
    external_reference: Annotated[str | None, Query(max_length=256)] = None,
    overdue: Annotated[
        bool | None, Query(description="Only those whose answer is owed and late, or only others.")
    ] = None,
    sort: Annotated[Sort, Query(description="`newest` first, or first what is `due` first.")] = Sort.NEWEST,
) -> UnlearnList:
    """Your requests, newest first or by the day they are due; `next` leads to further ones."""
    filters = service.Filters(state, model, external_reference, overdue, sort)
    found = service.list_requests(session, who.tenant, filters, limit=page.limit, after=page.after)
    shown = show_all(session, found[: page.limit])
    return UnlearnList(items=shown, next=_next(filters, page.limit, shown[-1].id) if len(found) > page.limit else None)


@router.get(
    "/{request_id}",
    operation_id="show_request",
    response_model=UnlearnOut,
    responses={304: {"description": "It is as the ETag in If-None-Match says."}, **problems(404)},
)
def show_one(
    request_id: UUID,
    who: Annotated[Caller, caller("requests:read")],
    session: ReadingSession,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A request with its state, progress and result.

    Poll with `If-None-Match` and wait `Retry-After` seconds in between; without `Retry-After` it is final.
    """
    return _answer(show(session, find_request(session, who.tenant, request_id)), 200, if_none_match)


@router.delete(
    "/{request_id}",
    operation_id="cancel_request",
    response_model=UnlearnOut,
    responses={202: {"model": UnlearnOut, "description": "It runs, and will stop soon."}, **problems(404, 409)},
)
def cancel(request_id: UUID, who: Annotated[Caller, caller("requests:cancel")], session: WritingSession) -> Response:
    """Withdraw a request: at once while it is queued (200), at its next checkpoint while it runs (202).

    A final request cannot be withdrawn (409).
    """
    shown = show(session, service.cancel(session, who, request_id))
    return _answer(shown, 202 if shown.state is JobState.RUNNING else 200)


@router.post(
    "/{request_id}/retry",
    operation_id="retry_request",
    status_code=202,
    response_model=UnlearnOut,
    responses=problems(404, 409, 410),
)
def retry(request_id: UUID, who: Annotated[Caller, caller("requests:submit")], session: WritingSession) -> Response:
    """Queue a failed request again; steps already finished are not repeated."""
    return _answer(show(session, service.retry(session, who, request_id)), 202)


@router.post(
    "/{request_id}/override",
    operation_id="override_request",
    response_model=UnlearnOut,
    responses=problems(404, 409, 410, 413, 415),
)
def override(request_id: UUID, body: OverrideIn, who: Annotated[Caller, caller("override")], held: Held) -> Response:
    """Publish the weights of a rejected request although its verification did not pass.

    Needs the scope `override` by name: `admin` does not hold it. The verdict stays what it was; the version is marked
    for ever with who overrode it and why, and the ledger says so. Refused (409) when the request was not rejected, or
    when the model has moved on: its classes are gone, or the weights would bring back a class that is.
    """
    grounds = Override(who.actor, body.reason, who.scopes)
    blob = overriding.candidate_bytes(held, who, request_id)
    with held.database.writing() as session:
        return _answer(show(session, overriding.override(session, who, request_id, grounds, blob)), 200)


@router.get(
    "/{request_id}/events",
    operation_id="follow_request",
    response_class=events.EventStream,
    responses={204: {"description": "Nothing new will come: it is final, as Last-Event-ID says."}, **problems(404)},
)
def follow(
    request_id: UUID,
    held: Held,
    who: Annotated[Caller, caller("requests:read")],
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Progress as server-sent events, one for every change, until the request is final.

    The id of an event is the request's revision; `Last-Event-ID` goes on from there.
    """

    def look() -> Progress:
        with held.database.reading() as session:
            job = find_request(session, who.tenant, request_id).job
            return Progress(id=job.id, state=job.state, step=job.step, percent=job.percent, revision=job.revision)

    now = look()
    seen = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 19 else None
    if now.state.is_final and seen == now.revision:
        return Response(status_code=204)
    return events.stream(look, seen=seen)


def _answer(shown: UnlearnOut, status: int, if_none_match: str | None = None) -> Response:
    etag = f'"{shown.revision}"'
    headers = {"ETag": etag, "Link": f'<{shown.links.proof}>; rel="describedby"; type="text/plain"'}
    if not shown.state.is_final:
        headers["Retry-After"] = str(POLL_AFTER_SECONDS)
    if if_none_match is not None and matches_weakly(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    if status == 202:
        headers["Location"] = shown.links.self
    body = shown.model_dump_json(by_alias=True).encode()
    return Response(body, status, headers=headers, media_type="application/json")


def _next(filters: service.Filters, limit: int, last: UUID) -> str:
    members = {
        "state": filters.state and filters.state.value,
        "model": filters.model,
        "external_reference": filters.external_reference,
        "overdue": None if filters.overdue is None else str(filters.overdue).lower(),
        "sort": None if filters.sort is Sort.NEWEST else filters.sort.value,
        "limit": limit,
        "after": last,
    }
    return "/unlearn?" + urlencode({name: value for name, value in members.items() if value is not None})
