"""Retired labels: the label of a deleted class leaves the list, and its index stays, as the outputs stay in order."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.requests.tables import UnlearnRequest
from models_store.lineage.tables import Effect, Quarantine
from models_store.tables import ForgottenClass, Model, ModelVersion


def retired_labels(session: Session, version: ModelVersion) -> dict[int, UUID]:
    """Indices whose label is retired in this version, with the request that deleted the class.

    Those of the classes erased on the way to the version, and for a version that was added after a deletion, by upload
    too, those deleted from the model before: a label once retired names nothing in any later version. And those that
    were erased: in a version in quarantine they would tell whom the request was about.
    """
    query = select(ForgottenClass).where(ForgottenClass.model_id == version.model_id)
    gone = {row.class_index: row for row in session.execute(query).scalars()}
    own = set(version.forgotten)
    retired = {
        index: row.job_id for index, row in gone.items() if index in own or row.forgotten_at <= version.created_at
    }
    return dict(sorted((erased_labels(session, version.model) | retired).items()))


def erased_labels(session: Session, model: Model) -> dict[int, UUID]:
    """Indices whose label nobody is shown any more: the personal data of the request that deleted it are destroyed.

    Of the model itself, and of its versions that such a request put into quarantine. The model's row keeps the label
    unless it was erased too (`models_store.naming`).
    """
    erased = UnlearnRequest.erased_at.is_not(None)
    kin = (
        select(Quarantine)
        .join(ModelVersion, ModelVersion.id == Quarantine.version_id)
        .join(UnlearnRequest, UnlearnRequest.job_id == Quarantine.job_id)
        .where(ModelVersion.model_id == model.id, Quarantine.effect != Effect.MARKED, erased)
    )
    own = (
        select(ForgottenClass)
        .join(UnlearnRequest, UnlearnRequest.job_id == ForgottenClass.job_id)
        .where(ForgottenClass.model_id == model.id, erased)
    )
    found = {index: row.job_id for row in session.execute(kin).scalars() for index in row.class_indices}
    return found | {row.class_index: row.job_id for row in session.execute(own).scalars()}


def shown_labels(session: Session, model: Model) -> list[str | None]:
    """The model's labels in the order of its outputs, None where one was erased."""
    erased = erased_labels(session, model)
    return [None if index in erased else str(label) for index, label in enumerate(model.labels)]
