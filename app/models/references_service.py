"""Registering references, and giving them their weights."""

from typing import NoReturn

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.models.references_rules import checked
from app.models.references_schemas import RegisterReference
from core.requests.repository import enqueue
from core.requests.tables import Job
from core.states import JobKind, JobState
from models_store.references import ReferenceSealed, add_reference, find_reference, note_reference
from models_store.registry import find_model
from models_store.storage import StoredBlob
from models_store.tables import Model, Reference, ReferenceState


def register(session: Session, who: Caller, name: str, body: RegisterReference) -> Reference:
    """Write a reference without weights, a draft, and its ledger entry; the caller commits.

    Raises:
        ServiceError: model, data set, classes or images do not allow it.
    """
    model = find_model(session, who.tenant, name, lock=True)
    asked = checked(session, who, model, body)
    return add_reference(
        session,
        model,
        actor=who.actor,
        event="reference.registered",
        state=ReferenceState.DRAFT,
        absent_classes=asked.absent,
        dataset_id=asked.dataset.id,
        note=body.note,
    )


def require_upload(session: Session, who: Caller, name: str, number: int) -> None:
    """Refuse before the bytes come what would be refused after, whatever they are.

    Raises:
        UnknownModel: the tenant has no model of this name.
        UnknownReference: it has no such reference.
        ReferenceSealed: the reference was trained here.
    """
    reference = find_reference(session, find_model(session, who.tenant, name), number)
    if reference.recipe is not None:
        _refuse_sealed(reference)


def add_weights(
    session: Session, who: Caller, name: str, number: int, blob: StoredBlob, max_attempts: int
) -> tuple[Reference, bool]:
    """Give a draft its weights and queue their validation; the caller commits.

    The same bytes again change nothing, except a new validation if the one before ended without an answer.

    Returns:
        The reference, and whether a validation was queued.

    Raises:
        UnknownModel: the tenant has no model of this name.
        UnknownReference: it has no such reference.
        ReferenceSealed: the reference has other weights already.
    """
    model = find_model(session, who.tenant, name, lock=True)
    reference = find_reference(session, model, number)
    is_draft = reference.state == ReferenceState.DRAFT
    if not is_draft and (reference.recipe is not None or reference.artifact_sha256 != blob.sha256):
        _refuse_sealed(reference)
    if not is_draft and not _awaits_validation_in_vain(session, reference):
        return reference, False
    job = enqueue(
        session,
        JobKind.VALIDATE_VERSION,
        tenant=who.tenant,
        actor=who.actor,
        spec={"model": model.name, "reference": reference.number},
        max_attempts=max_attempts,
    )
    reference.state = ReferenceState.VALIDATING
    reference.artifact_sha256 = blob.sha256
    reference.size_bytes = blob.size_bytes
    reference.job_id = job.id
    session.flush()
    if is_draft:
        note_reference(session, reference, "reference.uploaded", actor=who.actor)
    return reference, True


def references_after(session: Session, model: Model, after: int, limit: int) -> list[Reference]:
    """The model's references by number; one more than `limit` if there are more."""
    query = select(Reference).where(Reference.model_id == model.id, Reference.number > after)
    return list(session.execute(query.order_by(Reference.number).limit(limit + 1)).scalars())


def _refuse_sealed(reference: Reference) -> NoReturn:
    msg = (
        f"Expected a reference without weights, got number {reference.number}, which is {reference.state}; "
        "register another one for other weights."
    )
    raise ReferenceSealed(msg, state=str(reference.state))


def _awaits_validation_in_vain(session: Session, reference: Reference) -> bool:
    if reference.state != ReferenceState.VALIDATING:
        return False
    live = [JobState.QUEUED, JobState.RUNNING]
    query = select(Job.seq).where(Job.id == reference.job_id, Job.state.in_(live))
    return session.execute(query).scalar_one_or_none() is None
