"""Entries written before hashes were stored beside them get theirs, and the guards are back afterwards."""

import pytest
from alembic import command
from sqlalchemy import select, text

from core.db.migrate import alembic_config, upgrade
from core.db.session import Database
from core.ledger.entries import Record, append
from core.ledger.following import Position, follow, refuse_other_head, rows_after
from core.ledger.nodes import inclusion_proof
from core.ledger.tables import LedgerEntry, LedgerHead

ENTRIES = 37


def test_the_migration_fills_in_the_hashes(database_url: str) -> None:
    database = Database(database_url, pooled=False)
    with database.writing() as session:
        for number in range(ENTRIES):
            append(session, Record(type="test.written", tenant="t", actor="test", data={"number": number}))
    rows = select(LedgerEntry.seq, LedgerEntry.leaf, LedgerEntry.nodes).order_by(LedgerEntry.seq)
    with database.reading() as session:
        before = session.execute(rows).all()
    command.downgrade(alembic_config(database_url), "0003")
    upgrade(database_url)
    with database.reading() as session:
        assert session.execute(rows).all() == before
        position = follow(Position(), rows_after(session, Position(), limit=ENTRIES))
        refuse_other_head(position, session.get_one(LedgerHead, 1))
        assert inclusion_proof(session, 5, ENTRIES).root == position.root
    with pytest.raises(Exception, match="append-only"), database.writing() as session:
        session.execute(text("UPDATE audit_log SET nodes = NULL"))


def test_down_and_up_again_leaves_an_empty_ledger_usable(database_url: str) -> None:
    command.downgrade(alembic_config(database_url), "0003")
    upgrade(database_url)
    database = Database(database_url, pooled=False)
    with database.writing() as session:
        assert append(session, Record(type="test.written", tenant="t", actor="test")).seq == 0
    with pytest.raises(Exception, match="append-only"), database.writing() as session:
        session.execute(text("DELETE FROM audit_log"))
