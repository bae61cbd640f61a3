"""When the bytes that erased rows leave in a SQLite file were gone too.

Revision: 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("unlearn_requests", sa.Column("scrubbed_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("unlearn_requests", "scrubbed_at")
