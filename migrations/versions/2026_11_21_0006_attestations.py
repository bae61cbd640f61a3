"""Signed statements about published versions, and requests as they were sent with their receipts.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

from core.db.base import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NO_REPLACE = """CREATE TRIGGER attestations_no_replace BEFORE INSERT ON attestations
    WHEN EXISTS (SELECT 1 FROM attestations WHERE id = NEW.id OR (version_id, kind) = (NEW.version_id, NEW.kind))
    BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END"""


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "attestations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_attestations_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attestations")),
        sa.UniqueConstraint("version_id", "kind", name=op.f("uq_attestations_version_id_kind")),
    )
    op.create_table(
        "submissions",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_submissions_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_submissions")),
    )
    _guard()


def downgrade() -> None:
    """Undo."""
    op.drop_table("submissions")
    op.drop_table("attestations")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION attestations_is_append_only()")


def _guard() -> None:
    if op.get_bind().dialect.name != "postgresql":
        for verb in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER attestations_no_{verb} BEFORE {verb.upper()} ON attestations "
                "BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END"
            )
        # INSERT OR REPLACE deletes without asking the triggers above.
        op.execute(NO_REPLACE)
        return
    op.execute(
        "CREATE FUNCTION attestations_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'attestations is append-only'; END$$"
    )
    for when, each, guard in (("UPDATE OR DELETE", "ROW", "no_change"), ("TRUNCATE", "STATEMENT", "no_truncate")):
        op.execute(
            f"CREATE TRIGGER attestations_{guard} BEFORE {when} ON attestations "
            f"FOR EACH {each} EXECUTE FUNCTION attestations_is_append_only()"
        )
        op.execute(f"ALTER TABLE attestations ENABLE ALWAYS TRIGGER attestations_{guard}")
