"""The ledger's tables: leaves as bytes, the head under whose lock they are appended, checkpoints, cosignatures."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base


class LedgerEntry(Base):
    """One leaf. `leaf` is the truth; the other columns only find it."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_tenant_seq", "tenant", "seq"),)

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    nodes: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Roots of the perfect subtrees that this leaf completed, 32 bytes each, smallest first; none at even numbers."""
    type: Mapped[str] = mapped_column(String(64), index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[UUID | None] = mapped_column(index=True)
    at: Mapped[datetime]


class LedgerHead(Base):
    """The single row that serialises appends: size, last leaf hash and frontier of the tree."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tree_size: Mapped[int] = mapped_column(BigInteger)
    last_leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    frontier: Mapped[list[Any]]
    """Hex roots of the perfect subtrees that make up the tree, largest first (compact range)."""


class StoredCheckpoint(Base):
    """A checkpoint as it was signed; `note` is the truth, the other columns only find it."""

    __tablename__ = "checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    note: Mapped[str] = mapped_column(Text)
    signed_at: Mapped[datetime]


class StoredCosignature(Base):
    """A witness's signature line below a checkpoint; the first one of every witness is kept."""

    __tablename__ = "cosignatures"
    __table_args__ = (UniqueConstraint("size", "name", "key_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, ForeignKey("checkpoints.size"))
    name: Mapped[str] = mapped_column(String(256))
    key_id: Mapped[bytes] = mapped_column(LargeBinary(4))
    line: Mapped[str] = mapped_column(Text)
    added_at: Mapped[datetime]
