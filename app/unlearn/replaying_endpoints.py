"""Routes of replays."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response

from app.dependencies import Caller, CurrentSettings, ReadingSession, Storage, WritingSession, caller
from app.preconditions import etag, matches_weakly
from app.schemas import problems
from app.unlearn import idempotency, replaying
from app.unlearn.idempotency import IdempotencyKey
from app.unlearn.replaying_schemas import ReplayList, ReplayOut, replay_url
from core.requests.tables import Job
from core.states import JobState

router = APIRouter(prefix="/unlearn/{request_id}", tags=["unlearn"])

POLL_AFTER_SECONDS = 1


@router.post(
    "/replay",
    operation_id="replay_request",
    status_code=202,
    response_model=ReplayOut,
    responses=problems(400, 404, 409, 410),
)
def start(
    request_id: UUID,
    key: IdempotencyKey,
    who: Annotated[Caller, caller("requests:submit")],
    session: WritingSession,
    settings: CurrentSettings,
    storage: Storage,
) -> Response:
    """Compute a published deletion again from its parent, and compare what comes out with what was published.

    Method, strengths, depth, draws and seeds are those on record. The outcome is `identical`, `within-tolerance` (where
    build, device, threads or processor are other ones than then, the largest difference is named beside its bound) or
    `different`. Nothing is published by it. A job in the same queue, after deletions; its start and its outcome are
    entries of the ledger.

    Refused (409) when the request is not published, or while another replay of it is under way; 410 when the parent's
    weights or the images are no longer there. With an `Idempotency-Key` the first answer is replayed.
    """
    replayed = idempotency.lock_and_find(session, who, key) if key else None
    if replayed is not None:
        return replayed
    job = replaying.start(session, who, request_id, max_attempts=settings.max_attempts, is_stored=storage.exists)
    answer = _answer(job, 202)
    if key:
        idempotency.remember(session, who, key, job.id, answer)
    return answer


@router.get("/replays", operation_id="list_replays", responses=problems(404))
def list_all(request_id: UUID, who: Annotated[Caller, caller("requests:read")], session: ReadingSession) -> ReplayList:
    """Every replay of a request, newest first."""
    return ReplayList(items=[ReplayOut.of(job) for job in replaying.list_all(session, who.tenant, request_id)])


@router.get(
    "/replays/{replay_id}",
    operation_id="show_replay",
    response_model=ReplayOut,
    responses={304: {"description": "It is as the ETag in If-None-Match says."}, **problems(404)},
)
def show(
    request_id: UUID,
    replay_id: UUID,
    who: Annotated[Caller, caller("requests:read")],
    session: ReadingSession,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A replay with its progress and its outcome.

    Poll with `If-None-Match` and wait `Retry-After` seconds in between; without `Retry-After` it is final.
    """
    return _answer(replaying.find(session, who.tenant, request_id, replay_id), 200, if_none_match)


@router.delete(
    "/replays/{replay_id}",
    operation_id="cancel_replay",
    response_model=ReplayOut,
    responses={202: {"model": ReplayOut, "description": "It runs, and will stop soon."}, **problems(404, 409)},
)
def cancel(
    request_id: UUID,
    replay_id: UUID,
    who: Annotated[Caller, caller("requests:cancel")],
    session: WritingSession,
) -> Response:
    """Withdraw a replay: at once while it is queued (200), soon while it runs (202).

    A final replay cannot be withdrawn (409).
    """
    job = replaying.cancel(session, who, request_id, replay_id)
    return _answer(job, 202 if job.state == JobState.RUNNING else 200)


def _answer(job: Job, status: int, if_none_match: str | None = None) -> Response:
    tag = etag(f"{job.seq}-{job.revision}")
    headers = {"ETag": tag}
    if not JobState(job.state).is_final:
        headers["Retry-After"] = str(POLL_AFTER_SECONDS)
    if if_none_match is not None and matches_weakly(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    if status == 202:
        headers["Location"] = replay_url(job)
    body = ReplayOut.of(job).model_dump_json().encode()
    return Response(body, status, headers=headers, media_type="application/json")
