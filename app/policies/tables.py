"""The versions of own policies. A guard in the database refuses every change of a row."""

from datetime import datetime
from typing import Any

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base


class PolicyVersion(Base):
    """One version of a policy, immutable. Requests hold a full copy of what they were judged by."""

    __tablename__ = "policies"
    __table_args__ = (UniqueConstraint("tenant", "name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int]
    description: Mapped[str] = mapped_column(String(2000))
    deciding: Mapped[dict[str, Any]]
    """Margins by test, `{"at_least", "at_most"}` with the open sides left out."""
    sha256: Mapped[str] = mapped_column(String(64))
    """As in the ledger: of the policy's canonical JSON, as verdicts hold it."""
    created_at: Mapped[datetime]
