"""Who says that copies of a recalled version are retired.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "recall_acknowledgements",
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("recall", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=256), nullable=False),
        sa.Column("num_copies", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recall"], ["quarantines.entry"], name=op.f("fk_recall_acknowledgements_recall_quarantines")
        ),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_recall_acknowledgements")),
    )
    op.create_index(op.f("ix_recall_acknowledgements_recall"), "recall_acknowledgements", ["recall"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_table("recall_acknowledgements")
