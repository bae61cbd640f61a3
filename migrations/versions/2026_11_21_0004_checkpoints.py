"""Hashes of subtrees beside the leaves, signed checkpoints, cosignatures, and the public keys ever used.

Revision: 0004, after 0003. Leaves are not touched. The hashes beside them are filled in once, under guards lifted and
put back in the migration's own transaction.
"""

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

from core.db.base import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHUNK = 5000
GUARDED = ("checkpoints", "cosignatures", "signing_keys")
UNIQUE = {
    "audit_log": "seq = NEW.seq",
    "checkpoints": "size = NEW.size",
    "cosignatures": "id = NEW.id OR (size, name, key_id) = (NEW.size, NEW.name, NEW.key_id)",
    "signing_keys": "id = NEW.id OR name = NEW.name",
}
REPLACE_GUARD = """CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
    WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
    BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"""


def upgrade() -> None:
    """Apply."""
    op.add_column("audit_log", sa.Column("nodes", sa.LargeBinary(), nullable=True))
    _fill_nodes()
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "cosignatures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("key_id", sa.LargeBinary(length=4), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("added_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["checkpoints.size"], name=op.f("fk_cosignatures_size_checkpoints")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cosignatures")),
        sa.UniqueConstraint("size", "name", "key_id", name=op.f("uq_cosignatures_size_name_key_id")),
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("use", sa.String(length=16), nullable=False),
        sa.Column("public", sa.LargeBinary(length=32), nullable=False),
        sa.Column("valid_from", UtcDateTime(), nullable=False),
        sa.Column("previous_until", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_signing_keys_name")),
    )
    _guard()


def downgrade() -> None:
    """Undo."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    if not is_postgresql:
        op.execute("DROP TRIGGER audit_log_no_replace")
    for table in ("cosignatures", "checkpoints", "signing_keys"):
        op.drop_table(table)
        if is_postgresql:
            op.execute(f"DROP FUNCTION {table}_is_append_only()")
    op.drop_column("audit_log", "nodes")


def _guard() -> None:
    if op.get_bind().dialect.name != "postgresql":
        for table in GUARDED:
            for verb in ("update", "delete"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
        for table, same in UNIQUE.items():
            # INSERT OR REPLACE deletes without asking the triggers above.
            op.execute(REPLACE_GUARD.format(table=table, same=same))
        return
    for table in GUARDED:
        op.execute(
            f"CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$BEGIN RAISE EXCEPTION '{table} is append-only'; END$$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {table}_is_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_append_only()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change")
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate")


def _fill_nodes() -> None:
    """Append every stored leaf hash again, and write down which subtrees it completes (RFC 6962 section 2.1)."""
    bind = op.get_bind()
    log = sa.table("audit_log", sa.column("seq"), sa.column("leaf_hash", sa.LargeBinary), sa.column("nodes"))
    if bind.execute(sa.select(log.c.seq).limit(1)).first() is None:
        return
    _lift_guards()
    update = (
        sa
        .update(log)
        .where(log.c.seq == sa.bindparam("at"))
        .values(nodes=sa.bindparam("completed", type_=sa.LargeBinary()))
    )
    frontier: list[bytes] = []
    size = 0
    while True:
        query = sa.select(log.c.seq, log.c.leaf_hash).where(log.c.seq >= size).order_by(log.c.seq).limit(CHUNK)
        rows = bind.execute(query).all()
        changes = []
        for seq, leaf in rows:
            completed = _append(frontier, size, bytes(leaf))
            size += 1
            if completed:
                changes.append({"at": seq, "completed": b"".join(completed)})
        if changes:
            bind.execute(update, changes)
        if len(rows) < CHUNK:
            break
    _put_guards_back()


def _append(frontier: list[bytes], size: int, leaf: bytes) -> list[bytes]:
    completed = []
    frontier.append(leaf)
    while size & 1:
        right, left = frontier.pop(), frontier.pop()
        completed.append(sha256(b"\x01" + left + right).digest())
        frontier.append(completed[-1])
        size >>= 1
    return completed


def _lift_guards() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_no_change")
    else:
        op.execute("DROP TRIGGER audit_log_no_update")


def _put_guards_back() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_change")
    else:
        op.execute(
            "CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log "
            "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
        )
