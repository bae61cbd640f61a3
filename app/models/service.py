"""Registering models, adding uploaded versions, finding what is to be shown or sent."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from app.dependencies import Caller
from app.models.schemas import RegisterModel
from core.clock import database_now
from core.errors import Conflict, NotFound
from core.ledger.entries import Record, append
from core.requests.repository import enqueue
from core.requests.tables import Job
from core.states import JobKind, JobState, VersionState
from models_store.catalogue import check_architecture
from models_store.errors import InvalidArchitectureOption, UnknownArchitecture
from models_store.lineage.retired import RETIRED, refuse_retired
from models_store.lineage.tables import ModelOrigin
from models_store.registry import VersionNotReady, add_version, find_model, find_version
from models_store.storage import StoredBlob
from models_store.tables import Model, ModelAlias, ModelVersion


class NameTaken(Conflict):
    """Another model or data set of the tenant has the name."""

    slug = "name-taken"
    title = "The name is taken"


def register(session: Session, who: Caller, body: RegisterModel) -> Model:
    """Write a new model and its ledger entry; the caller commits.

    Raises:
        UnknownArchitecture: the catalogue does not have it.
        InvalidArchitectureOption: the architecture does not take an option, or not this value.
        UnknownModel: the tenant has no model of the name that it is said to come from.
        UnknownVersion: that model has no such version.
        NameTaken: the tenant has a model of this name; also for all but one of those who try at once.
    """
    _check_architecture(body)
    model = Model(
        tenant=who.tenant,
        actor=who.actor,
        name=body.name,
        architecture=body.architecture,
        architecture_options=dict(body.architecture_options),
        labels=body.labels,
        input_spec=body.input.model_dump(mode="json"),
        created_at=database_now(session),
        last_version=0,
    )
    origin = _origin(session, who, body)
    session.add(model)
    try:
        session.flush()
    except IntegrityError as error:
        msg = f"Expected a name that is free, got {body.name!r}, which is a model already."
        raise NameTaken(msg, pointer="#/name", links={"model": f"/models/{body.name}"}) from error
    if origin is not None:
        row = ModelOrigin(
            model_id=model.id,
            version_id=origin.id,
            tenant=who.tenant,
            actor=who.actor,
            created_at=model.created_at,
        )
        session.add(row)
    # Labels can name people; they stay out of the ledger, hashed too, because a hash of them could be guessed.
    data: dict[str, Any] = {"model": model.name, "architecture": model.architecture, "num_labels": len(model.labels)}
    if origin is not None:
        data["derived_from"] = {"model": origin.model.name, "version": origin.number, "sha256": origin.artifact_sha256}
    append(session, Record(type="model.registered", tenant=who.tenant, actor=who.actor, data=data))
    return model


def _origin(session: Session, who: Caller, body: RegisterModel) -> ModelVersion | None:
    if body.derived_from is None:
        return None
    try:
        return find_version(
            session, find_model(session, who.tenant, body.derived_from.model), body.derived_from.version
        )
    except NotFound as error:
        error.pointer = "#/derived_from"
        raise


def origin_of(session: Session, model: Model) -> ModelVersion | None:
    """The version that a model was declared to come from."""
    query = select(ModelVersion).join(ModelOrigin, ModelOrigin.version_id == ModelVersion.id)
    return session.execute(query.where(ModelOrigin.model_id == model.id)).scalar_one_or_none()


def _check_architecture(body: RegisterModel) -> None:
    try:
        check_architecture(body.architecture, body.architecture_options, len(body.labels))
    except UnknownArchitecture as error:
        error.pointer = "#/architecture"
        raise
    except InvalidArchitectureOption as error:
        option = error.extensions.get("option")
        known = option in body.architecture_options
        error.pointer = f"#/architecture_options/{option}" if known else "#/architecture_options"
        raise


def models_after(session: Session, who: Caller, after: int, limit: int) -> list[Model]:
    """The tenant's models in the order of their registration; one more than `limit` if there are more."""
    query = select(Model).where(Model.tenant == who.tenant, Model.id > after).order_by(Model.id).limit(limit + 1)
    return list(session.execute(query).scalars())


def versions_after(session: Session, model: Model, after: int, limit: int) -> list[ModelVersion]:
    """The model's versions by number; one more than `limit` if there are more."""
    query = (
        select(ModelVersion)
        .where(ModelVersion.model_id == model.id, ModelVersion.number > after)
        .options(selectinload(ModelVersion.parent))
        .order_by(ModelVersion.number)
        .limit(limit + 1)
    )
    return list(session.execute(query).scalars())


def aliases_of(session: Session, model: Model) -> list[ModelAlias]:
    """Every alias of the model, by name."""
    query = select(ModelAlias).where(ModelAlias.model_id == model.id).order_by(ModelAlias.name)
    return list(session.execute(query).scalars())


def add_upload(
    session: Session, who: Caller, name: str, blob: StoredBlob, max_attempts: int
) -> tuple[ModelVersion, bool]:
    """Make stored weights the model's next version and queue its validation; the caller commits.

    The same bytes are the same version: nothing is written for them, except a new validation if the one before ended
    without an answer.

    Returns:
        The version, and whether a validation was queued.

    Raises:
        UnknownModel: the tenant has no model of this name.
        ModelPurged: these bytes held a deleted class, and were removed for good.
    """
    model = find_model(session, who.tenant, name, lock=True)
    _refuse_purged_bytes(session, who, blob.sha256)
    version = _version_of(session, model, blob.sha256)
    if version is not None and not _awaits_validation_in_vain(session, version):
        return version, False
    if version is None:
        version = add_version(
            session,
            model,
            actor=who.actor,
            state=VersionState.VALIDATING,
            artifact_sha256=blob.sha256,
            size_bytes=blob.size_bytes,
        )
    enqueue(
        session,
        JobKind.VALIDATE_VERSION,
        tenant=who.tenant,
        actor=who.actor,
        subject_id=version.id,
        spec={"model": model.name, "version": version.number},
        max_attempts=max_attempts,
    )
    return version, True


def _refuse_purged_bytes(session: Session, who: Caller, sha256: str) -> None:
    query = select(ModelVersion).where(
        ModelVersion.tenant == who.tenant,
        ModelVersion.artifact_sha256 == sha256,
        ModelVersion.state == VersionState.PURGED,
    )
    purged = session.execute(query.limit(1)).scalar_one_or_none()
    if purged is not None:
        refuse_retired(session, purged)


def ready_version(session: Session, who: Caller, name: str, number: int) -> ModelVersion:
    """A version that may be downloaded.

    Raises:
        UnknownModel: the tenant has no model of this name.
        UnknownVersion: the model has no such version.
        VersionNotReady: it is still being checked, or was refused.
        ModelQuarantined: it holds a deleted class.
        ModelPurged: its bytes are gone.
    """
    version = checked_version(session, who, name, number)
    refuse_retired(session, version)
    return version


def checked_version(session: Session, who: Caller, name: str, number: int) -> ModelVersion:
    """A version that was found good once, whether or not it has been retired since: what is said about it holds on.

    Raises:
        UnknownModel: the tenant has no model of this name.
        UnknownVersion: the model has no such version.
        VersionNotReady: it is still being checked, or was refused.
    """
    version = find_version(session, find_model(session, who.tenant, name), number)
    if version.state not in (VersionState.READY, *RETIRED):
        msg = f"Expected a version that is ready, got version {number} of {name!r}, which is {version.state}."
        raise VersionNotReady(msg, state=str(version.state))
    return version


def _version_of(session: Session, model: Model, sha256: str) -> ModelVersion | None:
    query = (
        select(ModelVersion)
        .where(ModelVersion.model_id == model.id, ModelVersion.artifact_sha256 == sha256)
        .order_by(ModelVersion.number)
        .limit(1)
    )
    return session.execute(query).scalar_one_or_none()


def _awaits_validation_in_vain(session: Session, version: ModelVersion) -> bool:
    if version.state != VersionState.VALIDATING:
        return False
    open_job = (
        select(Job.seq)
        .where(
            Job.kind == JobKind.VALIDATE_VERSION,
            Job.subject_id == version.id,
            Job.state.in_([JobState.QUEUED, JobState.RUNNING]),
        )
        .limit(1)
    )
    return session.execute(open_job).scalar_one_or_none() is None
