"""What the ledger's tests share: entries, keys, signers, and what somebody does who owns the database."""

from datetime import timedelta
from pathlib import Path
from typing import cast

from sqlalchemy import Table, delete, select, text, update
from sqlalchemy.orm import Session

from core.clock import database_now
from core.db.session import Database
from core.ledger.entries import Record, append
from core.ledger.following import Position, follow, rows_after
from core.ledger.sealing import Sealer
from core.ledger.tables import LedgerEntry, LedgerHead
from core.signing.keyring import KeyFile, Keyring, write
from core.signing.published import publish

ORIGIN = "test.example/audit"
LOG = cast(Table, LedgerEntry.__table__)


def fill(database: Database, count: int, *, actor: str = "test") -> None:
    with database.writing() as session:
        for number in range(count):
            append(session, Record(type="test.written", tenant="t", actor=actor, data={"number": number}))


def make_keys(database: Database, path: Path, *, origin: str = ORIGIN) -> KeyFile:
    with database.writing() as session:
        ring = Keyring.first(origin, now=database_now(session))
        publish(session, ring, actor="local:cli")
    write(path, ring, replacing=False)
    return KeyFile(path)


def make_sealer(database: Database, keys: KeyFile) -> Sealer:
    return Sealer(database, keys, interval=timedelta(0))


def ring_of(keys: KeyFile) -> Keyring:
    ring = keys.current()
    assert ring is not None
    return ring


def drop_guards(session: Session) -> None:
    """As somebody who owns the database does."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("ALTER TABLE audit_log DISABLE TRIGGER ALL"))
        return
    for trigger in session.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
        session.execute(text(f"DROP TRIGGER {trigger}"))


def cut(session: Session, count: int) -> None:
    """The tail goes and the head is set back, as if it had never been there."""
    size = session.execute(select(LedgerHead.tree_size)).scalar_one() - count
    session.execute(delete(LOG).where(LOG.c.seq >= size))
    position = follow(Position(), rows_after(session, Position(), limit=10**6))
    session.execute(
        update(LedgerHead).values(
            tree_size=size, last_leaf_hash=position.last, frontier=[node.hex() for node in position.frontier]
        )
    )


def rewrite(session: Session, at: int) -> None:
    """An entry is changed and everything after it recomputed, as by somebody who knows the format."""
    records = [dict(row._mapping) for row in session.execute(select(LOG).where(LOG.c.seq >= at).order_by(LOG.c.seq))]
    cut(session, len(records))
    for number, row in enumerate(records):
        append(session, Record(type=str(row["type"]), tenant="t", actor="forger", data={"number": number}))
