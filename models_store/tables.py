"""Models, their immutable versions, aliases, forgotten classes, and data sets."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
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
    created_at: Mapped[datetime]

    model: Mapped[Model] = relationship(lazy="joined", innerjoin=True)
    parent: Mapped["ModelVersion | None"] = relationship(remote_side=[id], lazy="select")


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
