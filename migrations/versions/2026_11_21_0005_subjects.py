"""Finding the requests of a data subject, and when everything personal about a request was destroyed.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEX = "ix_unlearn_requests_tenant_subject"


def upgrade() -> None:
    """Apply."""
    op.add_column("unlearn_requests", sa.Column("erased_at", UtcDateTime(), nullable=True))
    op.create_index(INDEX, "unlearn_requests", ["tenant", "subject_reference"])


def downgrade() -> None:
    """Undo."""
    op.drop_index(INDEX, table_name="unlearn_requests")
    op.drop_column("unlearn_requests", "erased_at")
