"""Which deleted classes an uploaded version is watched for, and by which outputs it would know them."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models_store.lineage.kinship import models_akin
from models_store.lineage.tables import Effect, Quarantine
from models_store.tables import ForgottenClass, Model, ModelVersion


@dataclass(frozen=True, order=True)
class Watched:
    """A class deleted somewhere in the lineage, as the uploaded version would know it."""

    owner_id: int
    """The model it was deleted from."""
    owner_index: int
    """Its index there."""
    index: int
    """The output of the uploaded version that stands for it."""
    request: UUID
    is_named: bool
    """Whether the uploaded version's own list of labels still offers the class."""


def watched_classes(session: Session, version: ModelVersion) -> list[Watched]:
    """Every deleted class that the version could know, in a fixed order.

    In its own model and in those with the same bytes a class is told by its index, elsewhere by its label. A class that
    has no output in the version's model is not watched: nobody could ask for it.
    """
    akin = models_akin(session, version.model)
    copies = _models_with_bytes_of(session, version.model)
    query = select(ForgottenClass).where(ForgottenClass.model_id.in_(akin))
    found = []
    for row in session.execute(query).scalars():
        owner = akin[row.model_id]
        index = _output(version.model, owner, row.class_index, shares_outputs=owner.id in copies)
        if index is not None:
            named = owner.id != version.model_id
            found.append(Watched(owner.id, row.class_index, index, row.job_id, named))
    return sorted(found)


def retired_bytes(session: Session, version: ModelVersion) -> dict[int, UUID]:
    """By index the deleted classes that these very bytes are known to hold, and the request that deleted each."""
    query = (
        select(Quarantine)
        .join(ModelVersion, ModelVersion.id == Quarantine.version_id)
        .where(
            Quarantine.tenant == version.tenant,
            Quarantine.effect != Effect.MARKED,
            ModelVersion.artifact_sha256 == version.artifact_sha256,
            ModelVersion.id != version.id,
        )
    )
    return {index: row.job_id for row in session.execute(query).scalars() for index in row.class_indices}


def _output(model: Model, owner: Model, index: int, *, shares_outputs: bool) -> int | None:
    if owner.id == model.id:
        return index
    label = owner.labels[index]
    if label in model.labels:
        return list(model.labels).index(label)
    return index if shares_outputs and len(model.labels) == len(owner.labels) else None


def _models_with_bytes_of(session: Session, model: Model) -> set[int]:
    digests = select(ModelVersion.artifact_sha256).where(ModelVersion.model_id == model.id)
    query = select(ModelVersion.model_id).where(
        ModelVersion.tenant == model.tenant, ModelVersion.artifact_sha256.in_(digests)
    )
    return set(session.execute(query).scalars())
