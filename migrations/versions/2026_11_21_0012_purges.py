"""Purges: what was to go, written down before it went.

Revision: 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import JsonValue, UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "purges",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("targets", JsonValue, nullable=False),
        sa.Column("before", JsonValue, nullable=False),
        sa.Column("began_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_purges_job_id_jobs")),
        sa.ForeignKeyConstraint(["request_id"], ["jobs.id"], name=op.f("fk_purges_request_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_purges")),
    )
    op.create_index(op.f("ix_purges_request_id"), "purges", ["request_id"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_table("purges")
