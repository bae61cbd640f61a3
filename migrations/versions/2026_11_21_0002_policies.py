"""Policies of one's own, the policy's version beside a request, and the mark of an override on a version.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import JsonValue, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


POSTGRESQL_GUARDS = (
    """CREATE FUNCTION policies_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'policies is append-only'; END$$""",
    """CREATE TRIGGER policies_no_change BEFORE UPDATE OR DELETE ON policies
    FOR EACH ROW EXECUTE FUNCTION policies_is_append_only()""",
    """CREATE TRIGGER policies_no_truncate BEFORE TRUNCATE ON policies
    FOR EACH STATEMENT EXECUTE FUNCTION policies_is_append_only()""",
    "ALTER TABLE policies ENABLE ALWAYS TRIGGER policies_no_change",
    "ALTER TABLE policies ENABLE ALWAYS TRIGGER policies_no_truncate",
    """CREATE FUNCTION override_stays() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'the mark of an override stays'; END$$""",
    """CREATE TRIGGER model_versions_override_stays BEFORE UPDATE ON model_versions FOR EACH ROW
    WHEN (OLD.overridden_by IS NOT NULL
          AND (OLD.overridden_by, OLD.verdict) IS DISTINCT FROM (NEW.overridden_by, NEW.verdict))
    EXECUTE FUNCTION override_stays()""",
    """CREATE TRIGGER model_versions_override_kept BEFORE DELETE ON model_versions FOR EACH ROW
    WHEN (OLD.overridden_by IS NOT NULL) EXECUTE FUNCTION override_stays()""",
)
SQLITE_GUARDS = (
    """CREATE TRIGGER policies_no_update BEFORE UPDATE ON policies
    BEGIN SELECT RAISE(ABORT, 'policies is append-only'); END""",
    """CREATE TRIGGER policies_no_delete BEFORE DELETE ON policies
    BEGIN SELECT RAISE(ABORT, 'policies is append-only'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above.
    """CREATE TRIGGER policies_no_replace BEFORE INSERT ON policies
    WHEN EXISTS (SELECT 1 FROM policies WHERE id = NEW.id
                 OR (tenant, name, version) = (NEW.tenant, NEW.name, NEW.version))
    BEGIN SELECT RAISE(ABORT, 'policies is append-only'); END""",
    """CREATE TRIGGER model_versions_override_stays BEFORE UPDATE ON model_versions
    WHEN OLD.overridden_by IS NOT NULL
         AND (OLD.overridden_by IS NOT NEW.overridden_by OR OLD.verdict IS NOT NEW.verdict)
    BEGIN SELECT RAISE(ABORT, 'the mark of an override stays'); END""",
    """CREATE TRIGGER model_versions_override_kept BEFORE DELETE ON model_versions
    WHEN OLD.overridden_by IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the mark of an override stays'); END""",
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "policies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("description", sa.String(length=2000), nullable=False),
        sa.Column("deciding", JsonValue, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
        sa.UniqueConstraint("tenant", "name", "version", name=op.f("uq_policies_tenant_name_version")),
    )
    # Until now there was one policy, in its first version.
    op.add_column("unlearn_requests", sa.Column("policy_version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("model_versions", sa.Column("overridden_by", sa.String(length=128), nullable=True))
    op.add_column("model_versions", sa.Column("override_reason", sa.String(length=2000), nullable=True))
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in POSTGRESQL_GUARDS if is_postgresql else SQLITE_GUARDS:
        op.execute(statement)


def downgrade() -> None:
    """Undo."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for trigger in ("model_versions_override_stays", "model_versions_override_kept"):
        op.execute(f"DROP TRIGGER {trigger}" + (" ON model_versions" if is_postgresql else ""))
    op.drop_column("model_versions", "override_reason")
    op.drop_column("model_versions", "overridden_by")
    op.drop_column("unlearn_requests", "policy_version")
    op.drop_table("policies")
    if is_postgresql:
        op.execute("DROP FUNCTION override_stays()")
        op.execute("DROP FUNCTION policies_is_append_only()")
