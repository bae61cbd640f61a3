"""What the re-learning guard found in an upload.

Revision: 0010, after 0009.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import JsonValue

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("model_versions", sa.Column("guard", JsonValue, nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("model_versions", "guard")
