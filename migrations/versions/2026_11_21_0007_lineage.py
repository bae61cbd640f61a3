"""Where models come from, which versions are in quarantine and why, and who downloaded one all the same.

Revision: 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import JsonValue, UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "model_origins",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_model_origins_model_id_models")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_model_origins_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_model_origins")),
    )
    op.create_index(op.f("ix_model_origins_version_id"), "model_origins", ["version_id"], unique=False)
    op.create_table(
        "quarantines",
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("relation", sa.String(length=16), nullable=False),
        sa.Column("effect", sa.String(length=16), nullable=False),
        sa.Column("class_indices", JsonValue, nullable=False),
        sa.Column("successor_id", sa.Integer(), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_quarantines_job_id_jobs")),
        sa.ForeignKeyConstraint(
            ["successor_id"], ["model_versions.id"], name=op.f("fk_quarantines_successor_id_model_versions")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_quarantines_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_quarantines")),
        sa.UniqueConstraint("version_id", "job_id", name=op.f("uq_quarantines_version_id_job_id")),
    )
    op.create_index(op.f("ix_quarantines_job_id"), "quarantines", ["job_id"], unique=False)
    op.create_index(op.f("ix_quarantines_tenant"), "quarantines", ["tenant"], unique=False)
    op.create_table(
        "broken_glass",
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_broken_glass_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_broken_glass")),
    )
    op.create_index(op.f("ix_broken_glass_version_id"), "broken_glass", ["version_id"], unique=False)


def downgrade() -> None:
    """Undo."""
    for table in ("broken_glass", "quarantines", "model_origins"):
        op.drop_table(table)
