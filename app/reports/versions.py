"""The versions of a model, and what each still holds of what was to be deleted."""

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app.reports.schemas import LineageVersion
from models_store.tables import ModelVersion


def versions_of(session: Session, model_id: int | None, wanted: set[int]) -> list[LineageVersion]:
    """Every version by number.

    Args:
        session: any transaction.
        model_id: whose versions; None has none.
        wanted: indices of the classes that were to go.
    """
    query = select(ModelVersion).where(ModelVersion.model_id == model_id).options(defer(ModelVersion.manifest))
    found = list(session.execute(query.order_by(ModelVersion.number)).scalars())
    numbers = {one.id: one.number for one in found}
    return [
        LineageVersion(
            number=one.number,
            parent=numbers.get(one.parent_version_id or 0),
            sha256=one.artifact_sha256,
            state=str(one.state),
            created_at=one.created_at,
            request=one.job_id if one.parent_version_id is not None else None,
            forgotten=one.forgotten,
            still_holds=sorted(wanted - set(one.forgotten)),
        )
        for one in found
    ]
