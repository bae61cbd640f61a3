"""Finding models, versions, aliases and data sets, and the rules about forgotten classes that API and worker share."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import Conflict, NotFound
from core.ledger.entries import Record, append
from core.states import DatasetState, VersionState
from models_store.lineage.retired import refuse_retired
from models_store.tables import Dataset, ForgottenClass, Model, ModelAlias, ModelVersion


class UnknownModel(NotFound):
    """No model of this tenant has the name."""

    slug = "unknown-model"
    title = "Unknown model"


class UnknownVersion(NotFound):
    """The model has no version with this number."""

    slug = "unknown-version"
    title = "Unknown version"


class UnknownAlias(NotFound):
    """The model has no alias with this name."""

    slug = "unknown-alias"
    title = "Unknown alias"


class UnknownDataset(NotFound):
    """No data set of this tenant has the name."""

    slug = "unknown-dataset"
    title = "Unknown data set"


class VersionNotReady(Conflict):
    """The version is still being checked, or was refused."""

    slug = "version-not-ready"
    title = "The version is not ready"


class DatasetNotReady(Conflict):
    """The data set is still being read, or was refused."""

    slug = "dataset-not-ready"
    title = "The data set is not ready"


class AlreadyDeleted(Conflict):
    """The class has left the model before; a deleted class stays deleted."""

    slug = "already-deleted"
    title = "The class is already deleted"


class HoldsForgottenClass(Conflict):
    """The version still knows a class that was deleted from the model."""

    slug = "holds-forgotten-class"
    title = "The version still holds a deleted class"


def find_model(session: Session, tenant: str, name: str, *, lock: bool = False) -> Model:
    """The tenant's model; with `lock`, its row is held until the transaction ends.

    Raises:
        UnknownModel: there is none.
    """
    query = select(Model).where(Model.tenant == tenant, Model.name == name)
    model = session.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    if model is None:
        msg = f"Expected the name of a registered model, got {name!r}."
        raise UnknownModel(msg)
    return model


def find_version(session: Session, model: Model, number: int) -> ModelVersion:
    """The model's version with this number, whatever its state.

    Raises:
        UnknownVersion: there is none.
    """
    query = select(ModelVersion).where(ModelVersion.model_id == model.id, ModelVersion.number == number)
    version = session.execute(query).scalar_one_or_none()
    if version is None:
        msg = f"Expected a version of model {model.name!r}, got {number}."
        raise UnknownVersion(msg)
    return version


def find_alias(session: Session, model: Model, name: str, *, lock: bool = False) -> ModelAlias:
    """The model's alias.

    Raises:
        UnknownAlias: there is none.
    """
    query = select(ModelAlias).where(ModelAlias.model_id == model.id, ModelAlias.name == name)
    alias = session.execute(query.with_for_update(of=ModelAlias) if lock else query).scalar_one_or_none()
    if alias is None:
        msg = f"Expected an alias of model {model.name!r}, got {name!r}."
        raise UnknownAlias(msg)
    return alias


def find_dataset(session: Session, tenant: str, name: str, *, lock: bool = False) -> Dataset:
    """The tenant's data set, whatever its state.

    Raises:
        UnknownDataset: there is none.
    """
    query = select(Dataset).where(Dataset.tenant == tenant, Dataset.name == name)
    dataset = session.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    if dataset is None:
        msg = f"Expected the name of a registered data set, got {name!r}."
        raise UnknownDataset(msg)
    return dataset


def refuse_unready(dataset: Dataset) -> None:
    """Refuse a data set that nobody has read yet.

    Raises:
        DatasetNotReady: it is a draft, being validated, or refused.
    """
    if dataset.state != DatasetState.READY:
        why = f"; GET /datasets/{dataset.name} says why" if dataset.state == DatasetState.REFUSED else ""
        msg = f"Expected data set {dataset.name!r} to be ready, got one that is {dataset.state}{why}."
        raise DatasetNotReady(msg, state=str(dataset.state))


def resolve_base(
    session: Session, model: Model, *, version: int | None, alias: str | None, for_work: bool = False
) -> ModelVersion:
    """The version to erase from: the one named by number or alias, else the newest that is ready.

    Args:
        session: any transaction.
        model: whose version.
        version: its number.
        alias: or its alias.
        for_work: whether a worker asks on behalf of a request accepted before: it may read what is in quarantine.

    Raises:
        UnknownVersion: no such number, or the model has no version yet.
        UnknownAlias: no such alias.
        VersionNotReady: the named version is not ready, or none is.
        ModelQuarantined: the named version holds a deleted class.
        ModelPurged: its weights are gone.
    """
    if version is not None:
        found = find_version(session, model, version)
    elif alias is not None:
        found = find_alias(session, model, alias).version
    else:
        return _newest_ready(session, model)
    if for_work and VersionState(found.state).is_kept:
        return found
    refuse_retired(session, found)
    if found.state != VersionState.READY:
        msg = f"Expected a version of {model.name!r} that is ready, got version {found.number}, which is {found.state}."
        raise VersionNotReady(msg, state=str(found.state))
    return found


def _newest_ready(session: Session, model: Model) -> ModelVersion:
    query = (
        select(ModelVersion)
        .where(ModelVersion.model_id == model.id, ModelVersion.state == VersionState.READY)
        .order_by(ModelVersion.number.desc())
        .limit(1)
    )
    version = session.execute(query).scalar_one_or_none()
    if version is None and model.last_version:
        msg = f"Expected model {model.name!r} to have a version that is ready, got only others; look at their state."
        raise VersionNotReady(msg)
    if version is None:
        msg = f"Expected model {model.name!r} to have a version that is ready, got none; upload weights first."
        raise UnknownVersion(msg)
    return version


def forgotten_classes(session: Session, model: Model) -> dict[int, UUID]:
    """Every class index deleted from the model so far, with the request that removed it."""
    query = select(ForgottenClass.class_index, ForgottenClass.job_id).where(ForgottenClass.model_id == model.id)
    return {index: job_id for index, job_id in session.execute(query)}  # noqa: C416 rows are not pairs to mypy


def refuse_forgotten(session: Session, version: ModelVersion) -> None:
    """Refuse a version that still holds a class deleted from its model.

    Raises:
        HoldsForgottenClass: it does.
    """
    held = sorted(set(forgotten_classes(session, version.model)) - set(version.forgotten) - _measured_clear(version))
    if held:
        msg = f"Expected a version without the deleted class indices {held}, got version {version.number}."
        raise HoldsForgottenClass(msg, class_indices=held)


def _measured_clear(version: ModelVersion) -> set[int]:
    """Deleted classes that the guard measured in this upload and did not find; labels alone measure nothing."""
    judged = (version.guard or {}).get("classes", [])
    return {one["index"] for one in judged if one["outcome"] == "clear" and one["basis"] != "label-map"}


def add_version(
    session: Session,
    model: Model,
    *,
    actor: str,
    state: VersionState,
    artifact_sha256: str,
    size_bytes: int,
    **columns: Any,
) -> ModelVersion:
    """Write the model's next version and its ledger entry; the caller holds the model's row locked and commits."""
    model.last_version += 1
    version = ModelVersion(
        model=model,
        number=model.last_version,
        tenant=model.tenant,
        actor=actor,
        state=state,
        artifact_sha256=artifact_sha256,
        size_bytes=size_bytes,
        created_at=database_now(session),
        **{"forgotten": [], **columns},
    )
    session.add(version)
    session.flush()
    data = {"model": model.name, "version": version.number, "sha256": artifact_sha256, "state": state.value}
    append(
        session,
        Record(type="version.added", tenant=model.tenant, actor=actor, request=version.job_id, data=data),
    )
    return version
