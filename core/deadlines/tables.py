"""The deadline of each request, and everything that happened to it. Reasons live here and never in the ledger."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, String, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from core.db.base import Base


class Deadline(Base):
    """Until when the data subject must be answered. All days are days in UTC."""

    __tablename__ = "deadlines"
    __table_args__ = (
        Index(
            "ix_deadlines_open",
            "due_on",
            postgresql_where=text("closed_on IS NULL"),
            sqlite_where=text("closed_on IS NULL"),
        ),
        Index("ix_deadlines_tenant_due_on", "tenant", "due_on"),
    )

    job_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("unlearn_requests.job_id"), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    due_on: Mapped[date]
    """As of the pause, while it is paused."""
    further_months: Mapped[int] = mapped_column(default=0)
    paused_on: Mapped[date | None]
    days_paused: Mapped[int] = mapped_column(default=0)
    """By pauses that are over."""
    closed_on: Mapped[date | None]
    closed_by: Mapped[str | None] = mapped_column(String(16))
    """`published`, `cancelled`, `denied` or `answered`; a request that failed or was rejected is owed an answer yet."""
    warned_on: Mapped[date | None]
    overdue_on: Mapped[date | None]
    """When the watch saw that it was too late; never taken back."""

    steps: Mapped[list["DeadlineStep"]] = relationship(order_by="DeadlineStep.id", lazy="select")

    def is_overdue(self, today: date) -> bool:
        """Whether the answer is owed and late."""
        return self.closed_on is None and self.paused_on is None and self.due_on < today


class DeadlineStep(Base):
    """One thing that happened to a deadline."""

    __tablename__ = "deadline_steps"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), Identity(always=False), primary_key=True
    )
    job_id: Mapped[UUID] = mapped_column(Uuid(), ForeignKey("deadlines.job_id"), index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(2000))
    due_on: Mapped[date]
    """After it."""
    at: Mapped[datetime]
