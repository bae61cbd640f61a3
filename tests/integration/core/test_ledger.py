"""The ledger in a real database: serialised, append-only, and checked offline."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from core.db.session import Database
from core.ledger.entries import Record, append
from core.ledger.export import check_export, export_document
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import root_of, root_of_leaves

WRITERS = 8
EACH = 10


def append_some(database: Database, writer: int) -> None:
    for number in range(EACH):
        with database.writing() as session:
            append(session, Record(type="test.written", tenant="t", actor=f"w{writer}", data={"number": number}))


def leaves_of(database: Database) -> tuple[list[bytes], LedgerHead]:
    with database.reading() as session:
        leaves = list(session.execute(select(LedgerEntry.leaf).order_by(LedgerEntry.seq)).scalars())
        return leaves, session.get_one(LedgerHead, 1)


def test_concurrent_writers_leave_no_gap_and_no_fork(database: Database) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda writer: append_some(database, writer), range(WRITERS)))
    leaves, head = leaves_of(database)
    assert head.tree_size == len(leaves) == WRITERS * EACH
    root = root_of([bytes.fromhex(node) for node in head.frontier])
    assert root == root_of_leaves(leaves)
    findings = check_export(export_document(leaves, tree_size=head.tree_size, root=root))
    assert all(finding.holds for finding in findings), findings


def test_the_leaf_has_the_documented_members(database: Database) -> None:
    append_some(database, 1)
    leaf = json.loads(leaves_of(database)[0][0])
    assert sorted(leaf) == ["actor", "data", "prev", "seq", "tenant", "ts", "type", "v"]
    assert (leaf["v"], leaf["seq"], leaf["prev"]) == (1, 0, "00" * 32)
    assert leaf["ts"].endswith("Z")


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET tenant = 'x'", "DELETE FROM audit_log"])
def test_the_database_refuses_to_change_an_entry(database: Database, statement: str) -> None:
    append_some(database, 1)
    with pytest.raises(Exception, match="append-only"), database.writing() as session:
        session.execute(text(statement))
    assert len(leaves_of(database)[0]) == EACH


def test_postgresql_refuses_to_truncate_even_as_a_replica(postgresql_url: str) -> None:
    database = Database(postgresql_url, pooled=False)
    append_some(database, 1)
    for statement in ("TRUNCATE audit_log", "DELETE FROM audit_log"):
        with database.writing() as session:
            session.execute(text("SET LOCAL session_replication_role = replica"))
            with pytest.raises(Exception, match="append-only"), session.begin_nested():
                session.execute(text(statement))
