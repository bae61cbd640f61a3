"""Replays of a published request: asked for, withdrawn, found."""

from collections.abc import Callable
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import Caller
from core.errors import Conflict, Gone, NotFound
from core.ledger.entries import Record, append
from core.requests import claims
from core.requests.moves import InvalidMove
from core.requests.repository import enqueue, find_request
from core.requests.tables import Job, UnlearnRequest
from core.states import JobKind, JobState
from models_store.registry import UnknownDataset, find_dataset, refuse_unready
from models_store.replays import REPLAY_PRIORITY, STARTED, ReplaySpec, replays_of
from models_store.tables import Dataset, ModelVersion


class UnknownReplay(NotFound):
    """The request has no replay with this id."""

    slug = "unknown-replay"
    title = "Unknown replay"


class ReplayRunning(Conflict):
    """A replay of the request is not final yet."""

    slug = "replay-running"
    title = "A replay is under way"


class ParentPurged(Gone):
    """The weights that the request erased from are no longer in the store."""

    slug = "parent-purged"
    title = "The parent's weights are gone"


class DatasetGone(Gone):
    """The data set that the request drew its images from is no longer there."""

    slug = "dataset-gone"
    title = "The data set is gone"


def start(
    session: Session, who: Caller, request_id: UUID, *, max_attempts: int, is_stored: Callable[[str], bool]
) -> Job:
    """Queue a replay with its ledger entries; the caller commits.

    The request's row is locked, so of two replays asked for at once one is refused.

    Args:
        session: a writing transaction.
        who: the caller.
        request_id: what is replayed.
        max_attempts: of the job.
        is_stored: whether the store holds bytes with this digest.

    Raises:
        UnknownRequest: the tenant has none with this id.
        InvalidMove: it is not published.
        ReplayRunning: another replay of it is not final.
        ParentPurged: its parent's weights are not in the store.
        DatasetGone: its data set is not registered, or its stored files are gone.
        DatasetNotReady: its data set cannot be read.
    """
    request = find_request(session, who.tenant, request_id, lock=True)
    if request.job.state != JobState.PUBLISHED:
        msg = (
            f"Expected a request that is published, got one that is {request.job.state}: "
            "without published weights there is nothing to compare a replay with."
        )
        raise InvalidMove(msg, state=str(request.job.state))
    _refuse_second(session, request_id)
    _refuse_purged(session, request, is_stored)
    _refuse_without_data(session, request, is_stored)
    job = enqueue(
        session,
        JobKind.REPLAY,
        tenant=who.tenant,
        actor=who.actor,
        spec=ReplaySpec(request=request_id).model_dump(mode="json"),
        max_attempts=max_attempts,
        model_id=request.job.model_id,
        parent=request_id,
        priority=REPLAY_PRIORITY,
    )
    facts = {"replay": str(job.id)}
    append(session, Record(type=STARTED, tenant=who.tenant, actor=who.actor, request=request_id, data=facts))
    return job


def find(session: Session, tenant: str, request_id: UUID, replay_id: UUID, *, lock: bool = False) -> Job:
    """A replay of the tenant's request.

    Raises:
        UnknownRequest: the tenant has no such request.
        UnknownReplay: it has no such replay.
    """
    find_request(session, tenant, request_id)
    query = select(Job).where(Job.id == replay_id, Job.parent_job_id == request_id, Job.kind == JobKind.REPLAY)
    job = session.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    if job is None:
        msg = f"Expected the id of a replay of this request, got {replay_id}; GET /unlearn/{request_id}/replays."
        raise UnknownReplay(msg)
    return job


def list_all(session: Session, tenant: str, request_id: UUID) -> list[Job]:
    """Every replay of the tenant's request, newest first.

    Raises:
        UnknownRequest: the tenant has no such request.
    """
    find_request(session, tenant, request_id)
    return replays_of(session, request_id)


def cancel(session: Session, who: Caller, request_id: UUID, replay_id: UUID) -> Job:
    """Withdraw a replay: at once while it waits, soon while it runs; the caller commits.

    Raises:
        UnknownRequest: the tenant has no such request.
        UnknownReplay: it has no such replay.
        InvalidMove: the replay is final.
    """
    job = find(session, who.tenant, request_id, replay_id, lock=True)
    return claims.cancel(session, job, actor=who.actor)


def _refuse_second(session: Session, request_id: UUID) -> None:
    for job in replays_of(session, request_id):
        if not JobState(job.state).is_final:
            path = f"/unlearn/{request_id}/replays/{job.id}"
            msg = f"Expected no replay of this request to be under way, got one that is; DELETE {path} withdraws it."
            raise ReplayRunning(msg, replay=path)


def _refuse_purged(session: Session, request: UnlearnRequest, is_stored: Callable[[str], bool]) -> None:
    parent = session.get_one(ModelVersion, request.base_version_id)
    if not is_stored(parent.artifact_sha256):
        msg = (
            f"The weights of version {parent.number}, which the request erased from, are no longer in the store; "
            "a replay starts from them."
        )
        raise ParentPurged(msg, version=parent.number, sha256=parent.artifact_sha256)


def _refuse_without_data(session: Session, request: UnlearnRequest, is_stored: Callable[[str], bool]) -> None:
    try:
        dataset = find_dataset(session, request.tenant, request.dataset_name)
    except UnknownDataset as error:
        msg = f"Data set {request.dataset_name!r}, which the request drew its images from, is no longer registered."
        raise DatasetGone(msg, dataset=request.dataset_name) from error
    refuse_unready(dataset)
    gone = _files_gone(dataset, is_stored)
    if gone:
        msg = f"The files of data set {dataset.name!r} for {', '.join(gone)} are no longer in the store."
        raise DatasetGone(msg, dataset=dataset.name, splits=gone)


def _files_gone(dataset: Dataset, is_stored: Callable[[str], bool]) -> list[str]:
    """The splits whose uploaded files are missing; files named by path are the worker's to look for."""
    return [
        source.split
        for source in dataset.sources
        if source.path is None and (source.sha256 is None or not is_stored(source.sha256))
    ]
