"""Until when each request must be answered, and what moved that day.

Revision: 0011, after 0010. Requests that are there already get the deadline of their day of receipt.
"""

import calendar
from datetime import date

import sqlalchemy as sa
from alembic import op

from core.db.base import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ANSWERS = ("published", "cancelled", "denied")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "deadlines",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("further_months", sa.Integer(), nullable=False),
        sa.Column("paused_on", sa.Date(), nullable=True),
        sa.Column("days_paused", sa.Integer(), nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.Column("closed_by", sa.String(length=16), nullable=True),
        sa.Column("warned_on", sa.Date(), nullable=True),
        sa.Column("overdue_on", sa.Date(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["unlearn_requests.job_id"], name=op.f("fk_deadlines_job_id_unlearn_requests")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_deadlines")),
    )
    still_open = sa.text("closed_on IS NULL")
    op.create_index("ix_deadlines_open", "deadlines", ["due_on"], postgresql_where=still_open, sqlite_where=still_open)
    op.create_index("ix_deadlines_tenant_due_on", "deadlines", ["tenant", "due_on"])
    op.create_table(
        "deadline_steps",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["deadlines.job_id"], name=op.f("fk_deadline_steps_job_id_deadlines")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deadline_steps")),
    )
    op.create_index(op.f("ix_deadline_steps_job_id"), "deadline_steps", ["job_id"])
    _fill()


def downgrade() -> None:
    """Undo."""
    op.drop_table("deadline_steps")
    op.drop_table("deadlines")


def _fill() -> None:
    bind = op.get_bind()
    requests = sa.table(
        "unlearn_requests",
        sa.column("job_id", sa.Uuid()),
        sa.column("tenant"),
        sa.column("actor"),
        sa.column("received_on", sa.Date()),
    )
    jobs = sa.table("jobs", sa.column("id", sa.Uuid()), sa.column("state"), sa.column("finished_at", UtcDateTime()))
    deadlines = sa.table(
        "deadlines",
        sa.column("job_id", sa.Uuid()),
        sa.column("tenant"),
        sa.column("actor"),
        sa.column("due_on", sa.Date()),
        sa.column("further_months"),
        sa.column("days_paused"),
        sa.column("closed_on", sa.Date()),
        sa.column("closed_by"),
    )
    query = sa.select(requests, jobs.c.state, jobs.c.finished_at).join(jobs, jobs.c.id == requests.c.job_id)
    rows = [
        {
            "job_id": row.job_id,
            "tenant": row.tenant,
            "actor": row.actor,
            "due_on": _a_month_after(row.received_on),
            "further_months": 0,
            "days_paused": 0,
            "closed_on": row.finished_at.date() if row.state in ANSWERS and row.finished_at else None,
            "closed_by": row.state if row.state in ANSWERS and row.finished_at else None,
        }
        for row in bind.execute(query)
    ]
    if rows:
        bind.execute(sa.insert(deadlines), rows)


def _a_month_after(day: date) -> date:
    year, month = divmod(day.year * 12 + day.month, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
