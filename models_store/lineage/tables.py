"""Rows about lineage: where a model comes from, which versions were quarantined and why, who broke the glass."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db.base import Base
from models_store.tables import ModelVersion


class Relation(StrEnum):
    """How a version is akin to the one that was published."""

    ANCESTOR = "ancestor"
    """The published version was made from it, directly or over others."""
    SIBLING = "sibling"
    """Another version of the same model."""
    COPY = "copy"
    """The same bytes, or made from them, under another model's name."""
    KIN = "kin"
    """A version of a model that is declared to come from the same lineage."""


class Effect(StrEnum):
    """What the publication did to a version."""

    QUARANTINED = "quarantined"
    """It may no longer be downloaded; its copies are recalled."""
    HOLDS_TOO = "holds-too"
    """It was in quarantine already; this request is one more reason."""
    MARKED = "marked"
    """It comes from one that holds the class and does not name the class itself."""


class ModelOrigin(Base):
    """The version that a model was made from outside this service, as its owner declared it."""

    __tablename__ = "model_origins"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime]


class Quarantine(Base):
    """One request's effect on one version."""

    __tablename__ = "quarantines"
    __table_args__ = (UniqueConstraint("version_id", "job_id"),)

    entry: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Number of its ledger entry. Entries commit in the order of their numbers, so a reader of the feed misses none."""
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    actor: Mapped[str] = mapped_column(String(128))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    relation: Mapped[Relation] = mapped_column(String(16))
    effect: Mapped[Effect] = mapped_column(String(16))
    class_indices: Mapped[list[Any]]
    """The classes it holds and should not, as its own model numbers them."""
    successor_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    """What takes its place; empty where only the lineage is shared."""
    at: Mapped[datetime]

    version: Mapped[ModelVersion] = relationship(foreign_keys=[version_id], lazy="joined", innerjoin=True)
    successor: Mapped[ModelVersion | None] = relationship(foreign_keys=[successor_id], lazy="joined")


class BrokenGlass(Base):
    """A download of quarantined weights by somebody who may, and why."""

    __tablename__ = "broken_glass"

    entry: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Number of its ledger entry."""
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    reason: Mapped[str] = mapped_column(String(2000))
    """Its words may be about people, so the ledger holds a commitment to them only."""
    at: Mapped[datetime]


class Acknowledgement(Base):
    """Somebody who says that copies of a recalled version are retired."""

    __tablename__ = "recall_acknowledgements"

    entry: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Number of its ledger entry."""
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    recall: Mapped[int] = mapped_column(ForeignKey("quarantines.entry"), index=True)
    holder: Mapped[str] = mapped_column(String(256))
    """Who held the copies, in the words of whoever acknowledged; the ledger holds a commitment only."""
    num_copies: Mapped[int]
    at: Mapped[datetime]


class Purge(Base):
    """A purge from its intent, written before the first byte goes, to its proof."""

    __tablename__ = "purges"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    request_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    targets: Mapped[list[Any]]
    """What is to go or to stay, and why; as `purge_plan.Target`."""
    before: Mapped[dict[str, Any]]
    """The store's listing when the purge began; see `LocalStorage.listing`."""
    began_at: Mapped[datetime]
