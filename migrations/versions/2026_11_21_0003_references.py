"""References that unlearned versions are compared with, and the recipes by which they are trained.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import JsonValue, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "training_recipes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("content", JsonValue, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_training_recipes_model_id_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_recipes")),
        sa.UniqueConstraint("model_id", "version", name=op.f("uq_training_recipes_model_id_version")),
    )
    op.create_table(
        "model_references",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("absent_classes", JsonValue, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("artifact_sha256", sa.String(length=64), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("recipe", JsonValue, nullable=True),
        sa.Column("recipe_version", sa.Integer(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("measures", JsonValue, nullable=True),
        sa.Column("note", sa.String(length=2000), nullable=True),
        sa.Column("problem", JsonValue, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_model_references_dataset_id_datasets")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_model_references_job_id_jobs")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_model_references_model_id_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_references")),
        sa.UniqueConstraint("job_id", name=op.f("uq_model_references_job_id")),
        sa.UniqueConstraint("model_id", "number", name=op.f("uq_model_references_model_id_number")),
    )
    op.create_index(op.f("ix_model_references_artifact_sha256"), "model_references", ["artifact_sha256"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_index(op.f("ix_model_references_artifact_sha256"), table_name="model_references")
    op.drop_table("model_references")
    op.drop_table("training_recipes")
