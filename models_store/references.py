"""Finding and adding references: models that were trained without some classes, to compare unlearned versions with."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import Conflict, NotFound
from core.ledger.entries import Record, append
from core.states import VersionState
from models_store.registry import forgotten_classes, resolve_base
from models_store.tables import Model, ModelVersion, Reference, ReferenceState


class UnknownReference(NotFound):
    """The model has no reference with this number."""

    slug = "unknown-reference"
    title = "Unknown reference"


class ReferenceSealed(Conflict):
    """A reference takes its weights once; other weights are another reference."""

    slug = "reference-sealed"
    title = "The reference has its weights already"


def find_reference(session: Session, model: Model, number: int) -> Reference:
    """The model's reference with this number, whatever its state.

    Raises:
        UnknownReference: there is none.
    """
    query = select(Reference).where(Reference.model_id == model.id, Reference.number == number)
    reference = session.execute(query).scalar_one_or_none()
    if reference is None:
        msg = f"Expected a reference of model {model.name!r}, got {number}."
        raise UnknownReference(msg)
    return reference


def fitting_references(session: Session, model: Model, classes: Iterable[int]) -> list[Reference]:
    """References that a version without these classes can be compared with, newest first.

    They are ready and lack exactly the classes in question and those deleted from the model before: one that lacks
    fewer has seen what should be gone, one that lacks more has not seen what should be kept.

    Args:
        session: any transaction.
        model: whose references.
        classes: indices of the classes to be deleted, in any order; those deleted before may be among them.
    """
    wanted = sorted({*classes, *forgotten_classes(session, model)})
    query = (
        select(Reference)
        .where(Reference.model_id == model.id, Reference.state == ReferenceState.READY)
        .order_by(Reference.number.desc())
    )
    return [found for found in session.execute(query).scalars() if found.absent_classes == wanted]


def original_of(session: Session, model: Model) -> ModelVersion:
    """The version that references are measured beside: the newest uploaded one that is kept, else any that is ready.

    Raises:
        UnknownVersion: the model has no version yet.
        VersionNotReady: no version is ready.
    """
    query = (
        select(ModelVersion)
        .where(
            ModelVersion.model_id == model.id,
            ModelVersion.state.in_([state for state in VersionState if state.is_kept]),
        )
        .where(ModelVersion.parent_version_id.is_(None))
        .order_by(ModelVersion.number.desc())
        .limit(1)
    )
    uploaded = session.execute(query).scalar_one_or_none()
    return uploaded or resolve_base(session, model, version=None, alias=None)


def add_reference(
    session: Session,
    model: Model,
    *,
    actor: str,
    event: str,
    state: ReferenceState,
    absent_classes: Iterable[int],
    dataset_id: int,
    **columns: Any,
) -> Reference:
    """Write the model's next reference and its ledger entry; the caller holds the model's row locked and commits.

    Args:
        session: a writing transaction.
        model: its row, locked: the number is the next one.
        actor: who adds it.
        event: type of the ledger entry.
        state: `draft`, or `ready` for one that was trained and checked here.
        absent_classes: indices; they stay out of the ledger, where only their number is told.
        dataset_id: the data set it is checked on.
        **columns: other columns.
    """
    last = session.execute(select(func.max(Reference.number)).where(Reference.model_id == model.id)).scalar_one()
    reference = Reference(
        model=model,
        number=(last or 0) + 1,
        tenant=model.tenant,
        actor=actor,
        state=state,
        absent_classes=sorted(absent_classes),
        dataset_id=dataset_id,
        created_at=database_now(session),
        **columns,
    )
    session.add(reference)
    session.flush()
    session.refresh(reference)
    note_reference(session, reference, event, actor=actor)
    return reference


def note_reference(session: Session, reference: Reference, event: str, *, actor: str, **facts: Any) -> None:
    """Write a ledger entry about a reference: which it is, its digest and state, and no class."""
    data: dict[str, Any] = {
        "model": reference.model.name,
        "reference": reference.number,
        "state": str(reference.state),
        "num_absent": len(reference.absent_classes),
        **facts,
    }
    if reference.artifact_sha256 is not None:
        data["sha256"] = reference.artifact_sha256
    record = Record(type=event, tenant=reference.tenant, actor=actor, request=reference.job_id, data=data)
    append(session, record)
