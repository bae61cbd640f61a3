"""Who still needs stored bytes: one blob may be the weights of several versions, of several tenants even."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.states import VersionState
from models_store.tables import Dataset, DatasetSource, Model, ModelVersion, Reference, ReferenceState

NEEDED = (VersionState.VALIDATING, VersionState.READY, VersionState.QUARANTINED)


def holder_of(
    session: Session, tenant: str, sha256: str, *, versions: Iterable[int] = (), references: Iterable[int] = ()
) -> str | None:
    """Whoever needs the bytes, in words, apart from these rows; None if nobody does.

    Args:
        session: any transaction.
        tenant: who asks; what another tenant has is not named.
        sha256: digest of the bytes.
        versions: row ids of versions that are to be purged themselves.
        references: the same of references.
    """
    version = session.execute(
        select(ModelVersion)
        .where(ModelVersion.artifact_sha256 == sha256, ModelVersion.state.in_(NEEDED))
        .where(ModelVersion.id.not_in(list(versions)))
        .order_by(ModelVersion.tenant != tenant)
        .limit(1)
    ).scalar_one_or_none()
    if version is not None:
        return _told(tenant, version.tenant, f"version {version.number} of {version.model.name!r}")
    reference = session.execute(
        select(Reference.tenant, Reference.number, Model.name)
        .join(Model, Model.id == Reference.model_id)
        .where(Reference.artifact_sha256 == sha256, Reference.id.not_in(list(references)))
        .where(Reference.state.in_([ReferenceState.VALIDATING, ReferenceState.READY]))
        .order_by(Reference.tenant != tenant)
        .limit(1)
    ).first()
    if reference is not None:
        return _told(tenant, reference[0], f"reference {reference[1]} of {reference[2]!r}")
    source = session.execute(
        select(DatasetSource.tenant, Dataset.name)
        .join(Dataset, Dataset.id == DatasetSource.dataset_id)
        .where(DatasetSource.sha256 == sha256, DatasetSource.path.is_(None))
        .order_by(DatasetSource.tenant != tenant)
        .limit(1)
    ).first()
    return None if source is None else _told(tenant, source[0], f"data set {source[1]!r}")


def _told(tenant: str, owner: str, what: str) -> str:
    return f"{what} has the same bytes" if owner == tenant else "another tenant has the same bytes"
