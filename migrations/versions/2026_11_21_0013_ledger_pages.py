"""Pages of a tenant's entries come from one index, in order: SQLite sorted all of the tenant's ledger for each.

Revision: 0013, after 0012.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_audit_log_tenant_seq", "audit_log", ["tenant", "seq"], unique=False)
    op.drop_index("ix_audit_log_tenant", "audit_log")


def downgrade() -> None:
    """Undo."""
    op.create_index("ix_audit_log_tenant", "audit_log", ["tenant"], unique=False)
    op.drop_index("ix_audit_log_tenant_seq", "audit_log")
