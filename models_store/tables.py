"""Models, their immutable versions, aliases, forgotten classes, references and recipes, and data sets."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db.base import Base
from core.states import DatasetState, VersionState


class Model(Base):
    """A registered classifier: its architecture, its labels in output order, its input."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(128))
    architecture: Mapped[str] = mapped_column(String(128))
    architecture_options: Mapped[dict[str, Any]]
    labels: Mapped[list[Any]]
    input_spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    last_version: Mapped[int] = mapped_column(default=0)
    """Highest version number given out; numbers are never used twice."""


class ModelVersion(Base):
    """One set of weights, immutable and named by its digest."""

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("job_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    state: Mapped[VersionState] = mapped_column(String(16))
    artifact_sha256: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    parent_version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id"))
    """The request that made it; empty for an upload. Unique: one request never yields two versions."""
    fence: Mapped[int | None] = mapped_column(BigInteger)
    forgotten: Mapped[list[Any]]
    """Indices of every class erased on the way to this version, sorted."""
    verdict: Mapped[dict[str, Any] | None]
    manifest: Mapped[dict[str, Any] | None]
    problem: Mapped[dict[str, Any] | None]
    guard: Mapped[dict[str, Any] | None]
    """What the re-learning guard found in an upload: outcome, and by what each deleted class was judged."""
    overridden_by: Mapped[str | None] = mapped_column(String(128))
    """Who published it although its verdict did not pass. A guard in the database keeps mark and verdict for ever."""
    override_reason: Mapped[str | None] = mapped_column(String(2000))
    created_at: Mapped[datetime]

    model: Mapped[Model] = relationship(lazy="joined", innerjoin=True)
    parent: Mapped["ModelVersion | None"] = relationship(remote_side=[id], lazy="select")


class Attestation(Base):
    """A signed statement about a published version; its bytes never change, and the ledger has their digest."""

    __tablename__ = "attestations"
    __table_args__ = (UniqueConstraint("version_id", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(32))
    content: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class ModelAlias(Base):
    """A movable name for a version; `revision` is its ETag."""

    __tablename__ = "model_aliases"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    revision: Mapped[int]
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    updated_at: Mapped[datetime]

    version: Mapped[ModelVersion] = relationship(lazy="joined", innerjoin=True)


class ForgottenClass(Base):
    """A class that left a model for good, and the request that removed it."""

    __tablename__ = "forgotten_classes"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    class_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    forgotten_at: Mapped[datetime]


class Dataset(Base):
    """A named set of labelled images in one or more files; immutable once sealed."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(128))
    state: Mapped[DatasetState] = mapped_column(String(16))
    labels: Mapped[list[Any] | None]
    """Label names found, sorted; for npz with bare indices: the names given at registration, or empty."""
    summary: Mapped[dict[str, Any] | None]
    """Images per split and label, image sizes, and what else the worker found."""
    problem: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]

    sources: Mapped[list["DatasetSource"]] = relationship(order_by="DatasetSource.id", lazy="selectin")


class DatasetSource(Base):
    """One file of a data set: a blob in the store, or a path below the operator's root."""

    __tablename__ = "dataset_sources"
    __table_args__ = (UniqueConstraint("dataset_id", "split"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    split: Mapped[str] = mapped_column(String(16))
    """`train`, `test`, `validation`, or `all` when the file itself has split folders."""
    sha256: Mapped[str | None] = mapped_column(String(64))
    """Digest of the bytes; for a path: as read by the validation, checked at every later use."""
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    path: Mapped[str | None] = mapped_column(String(1024))
    created_at: Mapped[datetime]


class ReferenceState(StrEnum):
    """Where a reference stands."""

    DRAFT = "draft"
    """Registered; its weights may still be uploaded."""
    VALIDATING = "validating"
    """Uploaded; a worker has yet to check it."""
    READY = "ready"
    """Checked: it fits, and it lacks the classes; verifications may compare with it."""
    REFUSED = "refused"
    """The check said no; the problem says why."""
    PURGED = "purged"
    """Its weights held a class that was deleted, and were removed."""


class Reference(Base):
    """A model of the same architecture, trained without some classes: what an unlearned version is compared with."""

    __tablename__ = "model_references"
    __table_args__ = (UniqueConstraint("model_id", "number"), UniqueConstraint("job_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    state: Mapped[ReferenceState] = mapped_column(String(16))
    absent_classes: Mapped[list[Any]]
    """Indices of the classes it never saw, sorted."""
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    """Whose test split tells whether the classes are absent; for a retrained one, whose train split it learned from."""
    artifact_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id"))
    """The job that trained it, or the last one to check an upload. Unique: one job never yields two references."""
    fence: Mapped[int | None] = mapped_column(BigInteger)
    recipe: Mapped[dict[str, Any] | None]
    """How it was trained here; empty for an upload."""
    recipe_version: Mapped[int | None]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    measures: Mapped[dict[str, Any] | None]
    """Accuracies that the check found."""
    note: Mapped[str | None] = mapped_column(String(2000))
    problem: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]

    model: Mapped[Model] = relationship(lazy="joined", innerjoin=True)
    dataset: Mapped[Dataset] = relationship(lazy="joined", innerjoin=True)


class TrainingRecipe(Base):
    """How a model is trained from scratch; a change is a new version."""

    __tablename__ = "training_recipes"
    __table_args__ = (UniqueConstraint("model_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    version: Mapped[int]
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    content: Mapped[dict[str, Any]]
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
