"""Audits of finished requests: asking for one, finding and withdrawing it.

An audit is a job whose children, the shadows, any worker may train; it runs itself when the last of them is final. What
earlier audits of the request left with the same recipe and seed is taken as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.unlearn.auditing_schemas import AuditIn
from core.errors import Conflict, NotFound
from core.requests import claims
from core.requests.families import NEVER, children_of
from core.requests.moves import InvalidMove
from core.requests.repository import enqueue, find_request
from core.requests.tables import Job, UnlearnRequest
from core.states import JobKind, JobState
from models_store.recipes import Recipe, find_recipe
from models_store.registry import find_dataset, find_model, refuse_unready
from models_store.shadows import AUDIT_PRIORITY, SHADOW_PRIORITY, AuditSpec, Place, audits_of, shadows_of
from models_store.tables import Model

AUDITABLE = (JobState.PUBLISHED, JobState.REJECTED)


class UnknownAudit(NotFound):
    """Nobody has asked for an audit of the request."""

    slug = "unknown-audit"
    title = "Unknown audit"


class AuditRunning(Conflict):
    """An audit of the request is not final yet."""

    slug = "audit-running"
    title = "An audit is under way"


@dataclass(frozen=True)
class Audit:
    """An audit with the shadows that stand for its places."""

    job: Job
    spec: AuditSpec
    shadows: dict[Place, Job]


def start(
    session: Session,
    who: Caller,
    request_id: UUID,
    body: AuditIn,
    *,
    max_attempts: int,
    is_stored: Callable[[str], bool],
) -> Audit:
    """Queue an audit and the shadows that are not there yet, with their ledger entries; the caller commits.

    The request's row is locked, so of two audits asked for at once one is refused.

    Args:
        session: a writing transaction.
        who: the caller.
        request_id: what is audited.
        body: how many pairs, and the seed.
        max_attempts: of each job.
        is_stored: whether the store holds bytes with this digest: a shadow whose record is gone is made again.

    Raises:
        UnknownRequest: the tenant has none with this id.
        InvalidMove: it is neither published nor rejected.
        AuditRunning: another audit of it is not final.
        UnknownRecipe: the model has no training recipe.
        UnknownDataset: its data set is not there.
        DatasetNotReady: its data set cannot be read.
    """
    request = find_request(session, who.tenant, request_id, lock=True)
    if request.job.state not in AUDITABLE:
        msg = f"Expected a request that is published or rejected, got one that is {request.job.state}."
        raise InvalidMove(msg, state=str(request.job.state))
    earlier = audits_of(session, request_id)
    _refuse_second(request_id, earlier)
    model = find_model(session, who.tenant, request.model_name)
    recipe = find_recipe(session, model)
    refuse_unready(find_dataset(session, who.tenant, request.dataset_name))
    spec = AuditSpec(
        request=request_id,
        pairs=body.pairs,
        seed=_seed(body, earlier),
        recipe=Recipe.model_validate(recipe.content),
        recipe_version=recipe.version,
    )
    return _queued(session, who, model, spec, max_attempts, is_stored)


def find(session: Session, tenant: str, request_id: UUID) -> Audit:
    """The newest audit of a request.

    Raises:
        UnknownRequest: the tenant has no such request.
        UnknownAudit: nobody has asked for an audit of it.
    """
    request = find_request(session, tenant, request_id)
    return _shown(session, _newest(session, request))


def cancel(session: Session, who: Caller, request_id: UUID) -> Audit:
    """Withdraw the newest audit with its shadows: those that wait at once, those that run soon; the caller commits.

    What finished shadows left stays for the next audit. Children are locked before their parent, as by a worker.

    Raises:
        UnknownRequest: the tenant has no such request.
        UnknownAudit: nobody has asked for an audit of it.
        InvalidMove: the audit is final.
    """
    request = find_request(session, who.tenant, request_id)
    job = _newest(session, request)
    children = children_of(session, job.id, lock=True)
    session.refresh(job, with_for_update=True)
    if JobState(job.state).is_final:
        msg = f"Expected an audit that is under way, got one that is {job.state}."
        raise InvalidMove(msg, state=str(job.state))
    for child in children:
        if not JobState(child.state).is_final:
            claims.cancel(session, child, actor=who.actor)
    claims.cancel(session, job, actor=who.actor)
    return _shown(session, job)


def _newest(session: Session, request: UnlearnRequest) -> Job:
    found = audits_of(session, request.job_id)
    if not found:
        msg = f"Expected a request with an audit, got {request.job_id}; POST /unlearn/{request.job_id}/audit makes one."
        raise UnknownAudit(msg)
    return found[0]


def _shown(session: Session, job: Job) -> Audit:
    spec = AuditSpec.model_validate(job.spec)
    return Audit(job, spec, shadows_of(session, spec, job.id))


def _refuse_second(request_id: UUID, earlier: list[Job]) -> None:
    if any(not JobState(job.state).is_final for job in earlier):
        path = f"/unlearn/{request_id}/audit"
        msg = f"Expected no audit of this request to be under way, got one that is; DELETE {path} withdraws it."
        raise AuditRunning(msg, audit=path)


def _seed(body: AuditIn, earlier: list[Job]) -> int:
    """That of the audit before, unless another one is asked for: its shadows can then be used again."""
    if body.seed is not None:
        return body.seed
    return int(earlier[0].spec["seed"]) if earlier else 0


def _queued(
    session: Session,
    who: Caller,
    model: Model,
    spec: AuditSpec,
    max_attempts: int,
    is_stored: Callable[[str], bool],
) -> Audit:
    done = [place for place, job in shadows_of(session, spec).items() if _is_usable(job, is_stored)]
    missing = [place for place in spec.places() if place not in set(done)]
    common: dict[str, Any] = {
        "tenant": who.tenant,
        "actor": who.actor,
        "max_attempts": max_attempts,
        "model_id": model.id,
    }
    audit = enqueue(
        session,
        JobKind.AUDIT,
        spec=spec.model_dump(mode="json"),
        parent=spec.request,
        priority=AUDIT_PRIORITY,
        not_before=NEVER if missing else None,
        **common,
    )
    for place in missing:
        enqueue(
            session,
            JobKind.SHADOW,
            spec=spec.shadow(place).model_dump(mode="json"),
            parent=audit.id,
            priority=SHADOW_PRIORITY,
            **common,
        )
    return _shown(session, audit)


def _is_usable(job: Job, is_stored: Callable[[str], bool]) -> bool:
    return job.state == JobState.COMPLETED and job.result is not None and is_stored(job.result["record_sha256"])
