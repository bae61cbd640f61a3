"""Which classes a request names, and whether they may be deleted from the model now."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Conflict, Invalid
from core.requests.tables import Job, UnlearnRequest
from core.states import JobKind, JobState
from models_store.registry import AlreadyDeleted, forgotten_classes
from models_store.tables import Model


class UnknownClass(Invalid):
    """The model has no such label or index. The label is not repeated: it may be a person's name."""

    slug = "unknown-class"
    title = "The model does not have the class"


class ClassNamedTwice(Invalid):
    """One class is named twice, by label and by index perhaps."""

    slug = "class-named-twice"
    title = "A class is named twice"


class NoClassRetained(Invalid):
    """Nothing would be left that the model could tell."""

    slug = "no-class-retained"
    title = "No class would be left"


class AlreadyRequested(Conflict):
    """Another request that is not final yet names the class."""

    slug = "already-requested"
    title = "The class is already being deleted"


def resolve_classes(model: Model, references: Sequence[int | str]) -> list[int]:
    """Class indices in the order named.

    Raises:
        UnknownClass: a label or index is not the model's.
        ClassNamedTwice: two references mean one class.
    """
    index_of = {label: index for index, label in enumerate(model.labels)}
    found: list[int] = []
    for position, reference in enumerate(references):
        index = index_of.get(reference) if isinstance(reference, str) else reference
        pointer = f"#/classes/{position}"
        if index is None or not 0 <= index < len(model.labels):
            last = len(model.labels) - 1
            msg = f"Expected a label of model {model.name!r} or an index from 0 to {last}, got another."
            raise UnknownClass(msg, pointer=pointer)
        if index in found:
            msg = f"Expected each class once, got class index {index} again."
            raise ClassNamedTwice(msg, pointer=pointer, class_index=index)
        found.append(index)
    return found


def refuse_deleted(session: Session, model: Model, indices: Iterable[int]) -> None:
    """Refuse classes that have left the model.

    Raises:
        AlreadyDeleted: one has; `request` links to the request that deleted it.
    """
    gone = forgotten_classes(session, model)
    for position, index in enumerate(indices):
        if index in gone:
            msg = f"Expected classes that model {model.name!r} still has, got class index {index}, which was deleted."
            raise AlreadyDeleted(msg, **_where(position, index, gone[index]))


def refuse_requested(session: Session, model: Model, indices: Iterable[int]) -> set[int]:
    """Refuse classes that another open request of the model names.

    Returns:
        The classes that open requests name.

    Raises:
        AlreadyRequested: one of ours is among them; `request` links to the other request.
    """
    open_requests = _open_requests(session, model)
    for position, index in enumerate(indices):
        if index in open_requests:
            msg = f"Expected classes that no open request names, got class index {index}, which one does."
            raise AlreadyRequested(msg, **_where(position, index, open_requests[index]))
    return set(open_requests)


def refuse_all(session: Session, model: Model, indices: Iterable[int], being_deleted: set[int]) -> None:
    """Refuse to leave a model without any class, open requests counted as if they had succeeded.

    Raises:
        NoClassRetained: none would be left.
    """
    leaving = set(indices) | being_deleted | set(forgotten_classes(session, model))
    if len(leaving) >= len(model.labels):
        msg = f"Expected at least one class of model {model.name!r} to stay, got a request after which none would."
        raise NoClassRetained(msg, pointer="#/classes")


def _open_requests(session: Session, model: Model) -> dict[int, UUID]:
    query = (
        select(UnlearnRequest.job_id, UnlearnRequest.class_indices)
        .join(Job, Job.id == UnlearnRequest.job_id)
        .where(Job.model_id == model.id, Job.kind == JobKind.UNLEARN)
        .where(Job.state.in_([JobState.QUEUED, JobState.RUNNING]))
    )
    return {index: row.job_id for row in session.execute(query) for index in row.class_indices}


def _where(position: int, index: int, request: UUID) -> dict[str, Any]:
    return {"pointer": f"#/classes/{position}", "class_index": index, "request": f"/unlearn/{request}"}
