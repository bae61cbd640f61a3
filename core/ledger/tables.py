"""The ledger's two tables: the leaves as bytes, and the head under whose lock they are appended."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base


class LedgerEntry(Base):
    """One leaf. `leaf` is the truth; the other columns only find it."""

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    type: Mapped[str] = mapped_column(String(64), index=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
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
