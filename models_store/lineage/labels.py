"""Retired labels: the label of a deleted class leaves the list, and its index stays, as the outputs stay in order."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models_store.tables import ForgottenClass, ModelVersion


def retired_labels(session: Session, version: ModelVersion) -> dict[int, UUID]:
    """Indices whose label is retired in this version, with the request that deleted the class.

    Those of the classes erased on the way to the version, and for a version that was added after a deletion, by upload
    too, those deleted from the model before: a label once retired names nothing in any later version.
    """
    query = select(ForgottenClass).where(ForgottenClass.model_id == version.model_id)
    return _retired(version, {row.class_index: row for row in session.execute(query).scalars()})


def _retired(version: ModelVersion, gone: Mapping[int, ForgottenClass]) -> dict[int, UUID]:
    own = set(version.forgotten)
    return {
        index: row.job_id
        for index, row in sorted(gone.items())
        if index in own or row.forgotten_at <= version.created_at
    }
